"""Qwen2-VL: frames as images, a tower that merges 2 x 2 patches, positions with three axes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2VLForConditionalGeneration

from threedrs_components.students.pixels import clip_pixels
from threedrs_components.students.settings import MicroWidths, Part
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import IMAGE, MICRO_CHAT, QWEN_CHAT, StudentTokenizer


class Qwen2VL(Student):
    """Every frame is an image: as a video, two frames would share tokens and coordinates.

    Positions have three axes, time, row and column. A frame takes as many positions as it has
    rows, so questions stand closer behind it than its tokens are many.
    """

    model_class: ClassVar[type[PreTrainedModel]] = Qwen2VLForConditionalGeneration
    micro_chat = replace(MICRO_CHAT, frame_start="<frame>", frame_end="</frame>")
    real_chat = replace(
        QWEN_CHAT, opening="", frame_start="<|vision_start|>", frame_end="<|vision_end|>"
    )
    visual_token = "image_token_id"
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.visual.merger.", "projector"),
        ("model.visual.", "vision"),
    )

    @classmethod
    def micro_fields(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> dict[str, Any]:
        """Tower, rotary frequencies, and the tokens that stand for images."""
        return {
            "vision_config": cls.micro_tower(widths),
            "text_config": {"rope_parameters": _micro_rope(widths)},
            "image_token_id": tokenizer.visual_id,
            "video_token_id": tokenizer.token_id(IMAGE),
            "vision_start_token_id": tokenizer.frame_start[0],
            "vision_end_token_id": tokenizer.frame_end[0],
        }

    @classmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """Fields of the micro tower's configuration: every block attends to the whole frame."""
        return {
            "depth": widths.vision_layers,
            "embed_dim": widths.vision_width,
            # Qwen2-VL calls the width of the language model so, and its own `embed_dim`.
            "hidden_size": widths.width,
            "num_heads": widths.vision_heads,
            "mlp_ratio": widths.vision_ff // widths.vision_width,
            "patch_size": widths.patch_size,
        }

    def pixels(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] as the tower reads images [B, H, W, 3] uint8."""
        return clip_pixels(images, self.dtype)

    def patch_states(self, images: Tensor) -> Tensor:
        """The last block of the tower, row by row: its order by squares of patches is undone."""
        states = self.in_squares(self._tower(images).last_hidden_state, self._shape(images))
        grid, merge = self.grid, self.merge
        squares = states.reshape(len(images), grid, grid, merge, merge, -1)
        # [B, row, column, y, x, C] of squares and inside them, to [B, row, y, column, x, C].
        return squares.transpose(2, 3).flatten(1, 4)

    def patches(self, images: Tensor) -> Tensor:
        """One token per square of 2 x 2 patches: the tower has pooled already."""
        tokens: Tensor = self._tower(images).pooler_output
        return tokens.reshape(len(images), self.grid, self.grid, -1)

    def prefix_positions(self, num_frames: int) -> Tensor:
        """[3, V]: equal axes for markup; inside a frame time stands still."""
        start, end = len(self.tokenizer.frame_start), len(self.tokenizer.frame_end)
        header = torch.arange(len(self.tokenizer.header)).expand(3, -1)
        if self.config.blind:
            return header
        side = self.grid
        cells = torch.arange(side)
        rows, columns = cells.repeat_interleave(side), cells.repeat(side)
        inside = torch.stack([torch.zeros_like(rows), rows, columns])
        # What follows a frame goes on behind its highest position on any axis, which is the last
        # row's: side * side tokens take only `side` positions.
        frame = torch.cat(
            [
                torch.arange(start).expand(3, -1),
                start + inside,
                start + side + torch.arange(end).expand(3, -1),
            ],
            dim=1,
        )
        first, stride = header.shape[1], start + side + end
        return torch.cat(
            [header, *(first + index * stride + frame for index in range(num_frames))], dim=1
        )

    def in_squares(self, states: Tensor, shape: Tensor) -> Tensor:
        """Tower states with each square of merged patches together, squares row by row.

        Args:
            states: [n, Cv] of B images, as the tower leaves them.
            shape: [B, 3] of the images: time steps, rows and columns of patches.
        """
        return states

    @property
    def merge(self) -> int:
        """Side of the squares of patches that become one token."""
        return int(self.model.config.vision_config.spatial_merge_size)

    @property
    def grid(self) -> int:
        """As configured: the tower takes frames of any size, and gets those that make this grid."""
        return self.config.grid

    @property
    def image_size(self) -> int:
        """Side of the frames, a whole number of merged patches."""
        return self.grid * self.merge * self.patch_size

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that the patch embedding reads."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def vision_width(self) -> int:
        """Width of the tower's blocks; Qwen2.5-VL's configuration has another name for it."""
        return int(self.model.model.visual.patch_embed.embed_dim)

    def _tower(self, images: Tensor) -> Any:
        patches = patch_rows(self.pixels(images), self.patch_size, self.merge)
        depth = int(self.model.config.vision_config.temporal_patch_size)
        # A still image fills all time steps of a patch.
        pixels = patches[:, :, None].expand(-1, -1, depth, -1).flatten(1)
        return self.model.model.visual(pixels, grid_thw=self._shape(images))

    def _shape(self, images: Tensor) -> Tensor:
        side = self.grid * self.merge
        return torch.tensor([[1, side, side]], device=images.device).expand(len(images), -1)


def _micro_rope(widths: MicroWidths) -> dict[str, Any]:
    """Rotary frequencies shared among time, row and column, in the real proportion 2 : 3 : 3."""
    frequencies = widths.width // widths.heads // 2
    time = max(1, frequencies // 4)
    row = (frequencies - time) // 2
    section = [time, row, frequencies - time - row]
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": section}


def patch_rows(pixels: Tensor, patch: int, merge: int) -> Tensor:
    """Patches [B * n, 3, patch * patch] of images [B, 3, H, W], square of patches by square."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    blocks = pixels.reshape(batch, channels, rows, merge, patch, columns, merge, patch)
    # To [image, row and column of the square, row and column in it, channel, y, x in the patch].
    ordered = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7)
    return ordered.reshape(-1, channels, patch * patch)
