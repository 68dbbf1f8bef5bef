"""Qwen3-VL: Qwen2-VL's frames and positions, and maps that are added inside the language model.

DeepStack (arXiv 2406.04334): the tower also hands on the states of three of its inner blocks, each
through a merger of its own; map k is added to the states of visual tokens behind layer k + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from threedrs_components.students.passes import Frames, Vision
from threedrs_components.students.pixels import centred_pixels
from threedrs_components.students.places import Place
from threedrs_components.students.qwen2_vl.model import Qwen2VL
from threedrs_components.students.settings import MicroWidths, StudentSettings
from threedrs_components.students.student import in_order
from threedrs_components.students.tokenizer import ChatMarkup, StudentTokenizer

if TYPE_CHECKING:
    from threedrs_components.students.qwen3_vl.config import Qwen3VLStudentConfig

USER_TURN = "<|im_start|>user\n"
MAPS = 3
"""Of every published size."""


class Qwen3VL(Qwen2VL):
    """A student of class `Qwen3VLForConditionalGeneration`."""

    config: Qwen3VLStudentConfig
    model_class = Qwen3VLForConditionalGeneration
    part_prefixes = (("model.visual.deepstack_merger_list.", "projector"), *Qwen2VL.part_prefixes)

    @classmethod
    def markup(cls, config: StudentSettings) -> ChatMarkup:
        """A system turn only where one is configured."""
        system = cast("Qwen3VLStudentConfig", config).system
        turn = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
        return replace(super().markup(config), header=turn + USER_TURN)

    @classmethod
    def micro_fields(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> dict[str, Any]:
        """Heads as wide as they divide the states: the default is 128, whatever the width."""
        text = {
            "head_dim": widths.width // widths.heads,
            "rope_parameters": _micro_rope(widths),
        }
        return {**super().micro_fields(widths, tokenizer), "text_config": text}

    @classmethod
    def micro_tower(cls, widths: MicroWidths) -> dict[str, Any]:
        """As many maps as there are blocks to make them and layers to read them, up to three."""
        maps = min(MAPS, widths.vision_layers, widths.layers - 1)
        return {
            "depth": widths.vision_layers,
            "hidden_size": widths.vision_width,
            "out_hidden_size": widths.width,
            "num_heads": widths.vision_heads,
            "intermediate_size": widths.vision_ff,
            "patch_size": widths.patch_size,
            "num_position_embeddings": (widths.image_size // widths.patch_size) ** 2,
            "deepstack_visual_indexes": list(range(maps)),
        }

    def pixels(self, images: Tensor) -> Tensor:
        """Of mean and deviation 0.5, not CLIP's."""
        return centred_pixels(images, self.dtype)

    def patches_and_maps(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Merged tokens [B, P, P, C] and as many maps [B, P, P, C] as the tower makes."""
        seen = self._tower(images)
        sizes = (len(images), self.grid, self.grid, -1)
        maps = tuple(each.reshape(sizes) for each in seen.deepstack_features)
        return seen.pooler_output.reshape(sizes), maps

    def added_inside(self, frames: Frames, vision: Vision | None, length: int) -> dict[str, Any]:
        """The maps in the order of the frames, and where they are added."""
        if vision is None or not vision.maps:
            return {}
        maps = vision.maps
        if self.config.position_encoding_at == "tokens_and_maps":
            maps = tuple(self.placed(each, frames) for each in maps)
        return {
            "visual_pos_masks": self._visual_places(frames, length),
            "deepstack_visual_embeds": [
                in_order(each, frames.order).flatten(0, 3) for each in maps
            ],
        }

    def _visual_places(self, frames: Frames, length: int) -> Tensor:
        """[1, length] bool: the visual tokens of every scene's prefix."""
        scenes, num_frames = frames.images.shape[:2]
        words = self.tokenizer
        frame = [False] * len(words.frame_start) + [True] * self.grid**2
        frame += [False] * len(words.frame_end)
        prefixes = ([False] * len(words.header) + frame * num_frames) * scenes
        places = prefixes + [False] * (length - len(prefixes))
        return torch.tensor([places], device=self.device)

    def _language(
        self, embedded: Tensor, layers: Sequence[Place], mask: Tensor | None = None, **inputs: Any
    ) -> dict[int, Tensor]:
        """Hidden states as the next layer gets them: transformers records those without the map."""
        states = super()._language(embedded, layers, mask, **inputs)
        maps = inputs.get("deepstack_visual_embeds", ())
        total = int(self.model.config.text_config.num_hidden_layers)
        for layer in states:
            behind = layer % (total + 1)
            # The last states are recorded behind all additions.
            if 0 < behind <= len(maps) and behind < total:
                states[layer] = _with_map(
                    states[layer], inputs["visual_pos_masks"], maps[behind - 1]
                )
        return states


class MergersWithTower(Qwen3VL):
    """The same, where the mergers of the maps are part of the tower, as in Qwen's own training."""

    part_prefixes = Qwen2VL.part_prefixes


def _with_map(states: Tensor, places: Tensor, added: Tensor) -> Tensor:
    """States [1, n, C] with a map [v, C] added at the v places of [1, n]."""
    whole = states.clone()
    whole[places] = whole[places] + added.to(states.dtype)
    return whole


def _micro_rope(widths: MicroWidths) -> dict[str, Any]:
    """Rotary frequencies in turn to time, row and column, in thirds as in 24 : 20 : 20."""
    frequencies = widths.width // widths.heads // 2
    third = frequencies // 3
    section = [frequencies - 2 * third, third, third]
    return {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": section,
        "mrope_interleaved": True,
    }
