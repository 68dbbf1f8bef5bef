"""Qwen2.5-VL: Qwen2-VL's layout, with a tower that attends within windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_window_index

from threedrs_components.students.qwen_vision import QwenVision
from threedrs_components.students.settings import MicroWidths


class Qwen25VL(QwenVision):
    """Real weights: Qwen/Qwen2.5-VL-7B-Instruct."""

    model_class = Qwen2_5_VLForConditionalGeneration
    model_type = "qwen2_5_vl"
    published_as = "Qwen/Qwen2.5-VL-7B-Instruct"

    @classmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """Windows of 4 x 4 patches; the last block sees the whole frame."""
        return {
            "depth": widths.vision_layers,
            "hidden_size": widths.vision_width,
            "out_hidden_size": widths.width,
            "num_heads": widths.vision_heads,
            "intermediate_size": widths.vision_ff,
            "patch_size": widths.patch_size,
            "window_size": 4 * widths.patch_size,
            "fullatt_block_indexes": [widths.vision_layers - 1],
        }

    def in_squares(self, states: Tensor, shape: Tensor) -> Tensor:
        """The tower leaves its states window by window."""
        order, _ = get_vision_window_index(
            shape,
            spatial_merge_size=self.merge,
            window_size=self.model.config.vision_config.window_size,
            patch_size=self.patch_size,
        )
        squares = states.reshape(-1, self.merge**2, states.shape[-1])
        return squares[torch.argsort(order)].flatten(0, 1)

    @property
    def vision_width(self) -> int:
        """Of the tower's blocks."""
        return int(self.model.config.vision_config.hidden_size)
