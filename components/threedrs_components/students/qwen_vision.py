"""What the Qwen-VL students share: frames as images, merged patches, three-axis positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from threedrs_components.students.config import REAL_GRID, Part
from threedrs_components.students.published_weights import (
    fill_new_rows,
    load_published,
    read_model_config,
    refuse_model_type,
)
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import (
    ChatMarkup,
    StudentTokenizer,
    qwen_chat,
    stored_tokenizer,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MICRO_CHAT = ChatMarkup(
    header="<|user|>",
    opening="",
    reply="<|assistant|>",
    end="<|end|>",
    visual="<visual>",
    frame_start="<frame>",
    frame_end="</frame>",
    newline="none",
)
REAL_CHAT = qwen_chat(
    "none", opening="", frame_start="<|vision_start|>", frame_end="<|vision_end|>"
)


class QwenVision(Student):
    """Every frame is an image: as a video, two frames would share tokens and coordinates.

    Positions have three axes, time, row and column. A frame takes as many positions as it has
    rows, so questions stand closer behind it than its tokens are many.
    """

    micro_chat = MICRO_CHAT
    model_type: ClassVar[str]
    """In the config.json of published weights."""
    published_as: ClassVar[str]
    """Where such weights come from, for errors."""
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.visual.merger.", "projector"),
        ("model.visual.", "vision"),
    )

    @classmethod
    def read_weights(
        cls, folder: Path, dtype: torch.dtype
    ) -> tuple[PreTrainedModel, StudentTokenizer]:
        """Qwen's own files."""
        found = read_model_config(folder).get("model_type")
        refuse_model_type(folder, found, {cls.model_type: cls.published_as})
        config: Any = cls.model_class.config_class.from_pretrained(folder)
        model = load_published(cls.model_class, folder, config, dtype)
        tokenizer = stored_tokenizer(folder, REAL_CHAT, config.image_token_id)
        fill_new_rows(folder, model, tokenizer)
        return model, tokenizer

    def patch_states(self, images: Tensor) -> Tensor:
        """The last block of the tower; its order by squares of 2 x 2 patches is undone."""
        states = self._tower(images).last_hidden_state
        grid, merge = self.grid, self.merge
        squares = states.reshape(len(images), grid, grid, merge, merge, -1)
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

    @property
    def merge(self) -> int:
        """Side of the squares of patches that become one token."""
        return int(self.model.config.vision_config.spatial_merge_size)

    @property
    def grid(self) -> int:
        """The tower takes any size; frames are given the one that makes the usual grid."""
        if self.config.size == "micro":
            return self.config.micro.image_size // (self.merge * self.patch_size)
        return REAL_GRID

    @property
    def image_size(self) -> int:
        """A whole number of merged patches."""
        return self.grid * self.merge * self.patch_size

    @property
    def patch_size(self) -> int:
        """Of the patch embedding."""
        return int(self.model.config.vision_config.patch_size)

    def _tower(self, images: Tensor) -> Any:
        patches = patch_rows(self._pixels(images), self.patch_size, self.merge)
        depth = int(self.model.config.vision_config.temporal_patch_size)
        side = self.grid * self.merge
        shape = torch.tensor([[1, side, side]], device=images.device).expand(len(images), -1)
        # A still image fills all time steps of a patch.
        pixels = patches[:, :, None].expand(-1, -1, depth, -1).flatten(1)
        return self.model.model.visual(pixels, grid_thw=shape)

    def _pixels(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] normalised as CLIP."""
        scaled = images.permute(0, 3, 1, 2).to(self.dtype) / 255.0
        mean, deviation = scaled.new_tensor(CLIP_MEAN), scaled.new_tensor(CLIP_STD)
        return (scaled - mean[:, None, None]) / deviation[:, None, None]


def patch_rows(pixels: Tensor, patch: int, merge: int) -> Tensor:
    """Patches [B * n, 3, patch * patch] of images [B, 3, H, W], square of patches by square."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    blocks = pixels.reshape(batch, channels, rows, merge, patch, columns, merge, patch)
    ordered = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7)
    return ordered.reshape(-1, channels, patch * patch)
