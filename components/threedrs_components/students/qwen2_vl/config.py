"""Qwen2-VL with every frame as an image of its own: as a video, two frames share tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from threedrs_components.students.settings import Part, StudentSettings

if TYPE_CHECKING:
    from threedrs_components.students.qwen2_vl.model import Qwen2VL


class Qwen2VLStudentConfig(StudentSettings):
    """14 rows of 14 tokens per frame at full size, which take 14 positions."""

    kind: Literal["qwen2_vl"] = "qwen2_vl"
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is the paper's."""
    published: ClassVar[Mapping[str, str]] = {"qwen2_vl": "Qwen/Qwen2-VL-7B-Instruct"}
    real_layers: ClassVar[Mapping[str, int]] = {"2b": 28, "7b": 28}
    real_image_size: ClassVar[int] = 392
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[Qwen2VL]:
        """Qwen's own tower and language model."""
        from threedrs_components.students.qwen2_vl.model import Qwen2VL

        return Qwen2VL
