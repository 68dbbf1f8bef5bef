"""What the Qwen-VL students share: frames as images, merged patches, three-axis positions."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from threedrs_components.students.clip_pixels import clip_pixels
from threedrs_components.students.published_weights import (
    fill_new_rows,
    load_published,
    read_model_config,
    refuse_model_type,
)
from threedrs_components.students.settings import MicroWidths, Part
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import (
    IMAGE,
    ChatMarkup,
    StudentTokenizer,
    qwen_chat,
    stored_tokenizer,
)

MAX_POSITIONS = 4096
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
    @abstractmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """Fields of the micro tower's configuration."""

    @classmethod
    def micro_config(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> PretrainedConfig:
        """The real architecture in micro widths."""
        text = {
            "vocab_size": len(tokenizer),
            "hidden_size": widths.width,
            "intermediate_size": widths.ff,
            "num_hidden_layers": widths.layers,
            "num_attention_heads": widths.heads,
            "num_key_value_heads": widths.key_value_heads,
            "max_position_embeddings": MAX_POSITIONS,
            "rope_parameters": _micro_rope(widths),
            "bos_token_id": None,
            "eos_token_id": tokenizer.end_id,
        }
        config_class: Any = cls.model_class.config_class
        config: PretrainedConfig = config_class(
            vision_config=cls.micro_tower(widths),
            text_config=text,
            image_token_id=tokenizer.visual_id,
            video_token_id=tokenizer.token_id(IMAGE),
            vision_start_token_id=tokenizer.frame_start[0],
            vision_end_token_id=tokenizer.frame_end[0],
            tie_word_embeddings=False,
        )
        return config

    @classmethod
    def read_weights(
        cls, folder: Path, dtype: torch.dtype
    ) -> tuple[PreTrainedModel, StudentTokenizer]:
        """Qwen's own files."""
        found = read_model_config(folder).get("model_type")
        refuse_model_type(folder, found, {cls.model_type: cls.published_as})
        config_class: Any = cls.model_class.config_class
        config = config_class.from_pretrained(folder)
        model = load_published(cls.model_class, folder, config, dtype)
        tokenizer = stored_tokenizer(folder, REAL_CHAT, config.image_token_id)
        fill_new_rows(folder, model, tokenizer)
        return model, tokenizer

    def patch_states(self, images: Tensor) -> Tensor:
        """The last block of the tower; its order by squares of 2 x 2 patches is undone."""
        states = self.in_squares(self._tower(images).last_hidden_state, self._shape(images))
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

    def in_squares(self, states: Tensor, shape: Tensor) -> Tensor:
        """Tower states [n, Cv] of images of a shape [B, 3] (time, rows, columns of patches) with
        each square of merged patches together, squares row by row."""
        return states

    @property
    def merge(self) -> int:
        """Side of the squares of patches that become one token."""
        return int(self.model.config.vision_config.spatial_merge_size)

    @property
    def grid(self) -> int:
        """The tower takes any size; frames are given the one that makes the usual grid."""
        if self.config.size == "micro":
            return self.config.micro.image_size // (self.merge * self.patch_size)
        return self.config.real_grid

    @property
    def image_size(self) -> int:
        """A whole number of merged patches."""
        return self.grid * self.merge * self.patch_size

    @property
    def patch_size(self) -> int:
        """Of the patch embedding."""
        return int(self.model.config.vision_config.patch_size)

    def _tower(self, images: Tensor) -> Any:
        patches = patch_rows(clip_pixels(images, self.dtype), self.patch_size, self.merge)
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
    ordered = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7)
    return ordered.reshape(-1, channels, patch * patch)
