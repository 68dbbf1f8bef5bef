"""LLaVA-Video: SigLIP frames, a projector, Qwen2 reading rows that end in a newline vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from threedrs_components.students.settings import Newline, StudentSettings

if TYPE_CHECKING:
    from threedrs_components.students.siglip_qwen2 import SiglipQwen2


class LlavaVideoConfig(StudentSettings):
    """14 rows of 14 + 1 positions per frame at full size. The paper says LLaVA-Next-Video."""

    kind: Literal["llava_video"] = "llava_video"
    published: ClassVar[Mapping[str, str]] = {
        "llava_qwen": "lmms-lab/LLaVA-Video-7B-Qwen2, or 3DRS and Video-3D-LLM, trained from it",
        "ross3d_qwen": "Ross3D",
    }
    newline: ClassVar[Newline] = "row"

    def architecture(self) -> type[SiglipQwen2]:
        """SigLIP and Qwen2."""
        from threedrs_components.students.siglip_qwen2 import SiglipQwen2

        return SiglipQwen2
