"""LLaVA-OneVision: the modules of LLaVA-Video; one newline vector after all frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from threedrs_components.students.settings import Newline, StudentSettings

if TYPE_CHECKING:
    from threedrs_components.students.siglip_qwen2 import SiglipQwen2


class LlavaOneVisionStudentConfig(StudentSettings):
    """14 rows of 14 positions per frame at full size, and one more at the very end."""

    kind: Literal["llava_onevision"] = "llava_onevision"
    published: ClassVar[Mapping[str, str]] = {
        "llava_qwen": "lmms-lab/llava-onevision-qwen2-7b-ov",
        "llava_onevision": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    }
    real_layers: ClassVar[Mapping[str, int]] = {"0.5b": 24, "7b": 28}
    newline: ClassVar[Newline] = "end"

    def architecture(self) -> type[SiglipQwen2]:
        """SigLIP and Qwen2."""
        from threedrs_components.students.siglip_qwen2 import SiglipQwen2

        return SiglipQwen2
