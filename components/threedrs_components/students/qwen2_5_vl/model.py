"""Qwen2.5-VL: Qwen2-VL's layout, with a tower that attends within windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_window_index

from threedrs_components.students.qwen2_vl.model import Qwen2VL
from threedrs_components.students.settings import MicroWidths


class Qwen25VL(Qwen2VL):
    """A student of class `Qwen2_5_VLForConditionalGeneration`."""

    model_class = Qwen2_5_VLForConditionalGeneration

    @classmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """Windows of 4 x 4 patches; the last block sees the whole frame."""
        return {
            "depth": widths.vision_layers,
            # Not as in Qwen2-VL: here the tower's own width.
            "hidden_size": widths.vision_width,
            "out_hidden_size": widths.width,
            "num_heads": widths.vision_heads,
            "intermediate_size": widths.vision_ff,
            "patch_size": widths.patch_size,
            "window_size": 4 * widths.patch_size,
            "fullatt_block_indexes": [widths.vision_layers - 1],
        }

    def in_squares(self, states: Tensor, shape: Tensor) -> Tensor:
        """The tower reorders squares window by window, and undoes that only for its tokens."""
        order, _ = get_vision_window_index(
            shape,
            spatial_merge_size=self.merge,
            window_size=self.model.config.vision_config.window_size,
            patch_size=self.patch_size,
        )
        squares = states.reshape(-1, self.merge**2, states.shape[-1])
        return squares[torch.argsort(order)].flatten(0, 1)
