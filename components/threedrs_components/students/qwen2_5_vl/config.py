"""Qwen2.5-VL: as Qwen2-VL, with windows of attention in its tower. Not in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from threedrs_components.students.settings import Part, StudentSettings

if TYPE_CHECKING:
    from threedrs_components.students.qwen2_5_vl.model import Qwen25VL


class Qwen25VLStudentConfig(StudentSettings):
    """14 rows of 14 tokens per frame at full size, which take 14 positions."""

    kind: Literal["qwen2_5_vl"] = "qwen2_5_vl"
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is that of Qwen2-VL."""
    published: ClassVar[Mapping[str, str]] = {"qwen2_5_vl": "Qwen/Qwen2.5-VL-7B-Instruct"}
    real_layers: ClassVar[Mapping[str, int]] = {"3b": 36, "7b": 28}
    real_image_size: ClassVar[int] = 392
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[Qwen25VL]:
        """Qwen's own tower and language model."""
        from threedrs_components.students.qwen2_5_vl.model import Qwen25VL

        return Qwen25VL
