"""Qwen2-VL: a tower with two-axis rotary positions that merges 2 x 2 patches, and Qwen2."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2VLForConditionalGeneration

from threedrs_components.students.qwen_vision import QwenVision
from threedrs_components.students.settings import MicroWidths


class Qwen2VL(QwenVision):
    """Real weights: Qwen/Qwen2-VL-7B-Instruct."""

    model_class = Qwen2VLForConditionalGeneration
    model_type = "qwen2_vl"
    published_as = "Qwen/Qwen2-VL-7B-Instruct"

    @classmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """Every block attends to the whole frame."""
        return {
            "depth": widths.vision_layers,
            "embed_dim": widths.vision_width,
            "hidden_size": widths.width,
            "num_heads": widths.vision_heads,
            "mlp_ratio": widths.vision_ff // widths.vision_width,
            "patch_size": widths.patch_size,
        }

    @property
    def vision_width(self) -> int:
        """Of the tower's blocks."""
        return int(self.model.config.vision_config.embed_dim)
