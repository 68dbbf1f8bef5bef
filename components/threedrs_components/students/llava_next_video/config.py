"""LLaVA-NeXT-Video: CLIP and Vicuna. Its name is in the paper, its weights are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from threedrs_components.students.settings import StudentSettings

if TYPE_CHECKING:
    from threedrs_components.students.llava_next_video.model import LlavaNextVideo


class LlavaNextVideoStudentConfig(StudentSettings):
    """12 rows of 12 positions per frame at full size, no newline vector."""

    kind: Literal["llava_next_video"] = "llava_next_video"
    published: ClassVar[Mapping[str, str]] = {"llava_next_video": "llava-hf/LLaVA-NeXT-Video-7B-hf"}
    real_image_size: ClassVar[int] = 336
    real_grid: ClassVar[int] = 12
    real_layers: ClassVar[Mapping[str, int]] = {"7b": 32}
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[LlavaNextVideo]:
        """CLIP and Vicuna."""
        from threedrs_components.students.llava_next_video.model import LlavaNextVideo

        return LlavaNextVideo
