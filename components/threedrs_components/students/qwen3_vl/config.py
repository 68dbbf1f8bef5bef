"""Qwen3-VL, dense: three maps of its tower are added inside its language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from threedrs_components.outside_json import CURE
from threedrs_components.students.settings import Part, StudentSettings
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.students.qwen3_vl.model import Qwen3VL
    from threedrs_components.tensor_headers import StoredTensor

_MERGER = re.compile(r"deepstack_merger_list\.(\d+)\.")
TOKEN_PIXELS = 32
"""Side of what one token shows: 2 x 2 patches of 16 pixels."""


class Qwen3VLStudentConfig(StudentSettings):
    """14 rows of 14 tokens per frame of 448 pixels, which take 14 positions.

    Beside them the tower makes three maps of the same tokens (DeepStack, arXiv 2406.04334), which
    are added to the states of visual tokens behind the first three layers.
    """

    kind: Literal["qwen3_vl"] = "qwen3_vl"
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is that of Qwen2-VL."""
    frame_size: PositiveInt = 14 * TOKEN_PIXELS
    """Side of the frames at published sizes, a multiple of 32: 448 pixels are 14 x 14 tokens,
    384 are 12 x 12. The tower resamples its table of positions."""
    deepstack_mergers: Literal["projector", "vision"] = "projector"
    """The part that the mergers of the three maps learn, or are frozen, with. vision is what Qwen's
    own scripts do, where a frozen tower keeps them and only the last merger learns."""
    position_encoding_at: Literal["tokens", "tokens_and_maps"] = "tokens"
    """What the position encoding is added to: the tokens that enter the language model, or the
    three maps that are added further on as well."""
    system: str = ""
    """Text of a system turn before the frames. Published chats have none by default."""

    published: ClassVar[Mapping[str, str]] = {"qwen3_vl": "Qwen/Qwen3-VL-8B-Instruct"}
    not_read: ClassVar[Mapping[str, str]] = {
        "qwen3_vl_moe": "a mixture of experts; take a dense size, Qwen/Qwen3-VL-2B-, -4B- or "
        "-8B-Instruct"
    }
    real_layers: ClassVar[Mapping[str, int]] = {"2b": 28, "4b": 36, "8b": 36}
    real_patch_size: ClassVar[int] = 16
    real_patch_grid: ClassVar[int | None] = None
    of_training: ClassVar[tuple[str, ...]] = (
        *StudentSettings.of_training,
        "deepstack_mergers",
        "position_encoding_at",
    )
    of_weights: ClassVar[tuple[str, ...]] = ("system",)

    @model_validator(mode="after")
    def _own_choices_fit(self) -> Self:
        if self.frame_size % TOKEN_PIXELS:
            below = max(self.frame_size // TOKEN_PIXELS, 1) * TOKEN_PIXELS
            raise ValueError(
                f"frame_size {self.frame_size}: a token of Qwen3-VL shows {TOKEN_PIXELS} x "
                f"{TOKEN_PIXELS} pixels; take {below} or {below + TOKEN_PIXELS}"
            )
        if self.position_encoding_at != "tokens" and not self.position_encoding:
            raise ValueError(
                f"position_encoding_at {self.position_encoding_at!r} says nothing without "
                "position_encoding: true"
            )
        if self.system and self.size == "micro":
            raise ValueError("system: the chat of a micro student has no system turn; drop it")
        return self

    @property
    def image_size(self) -> int:
        """Side of the frames that scenes must be prepared with."""
        return self.micro.image_size if self.size == "micro" else self.frame_size

    @property
    def covered(self) -> int:
        """All of a frame: it is made of whole patches."""
        return self.image_size

    @property
    def grid(self) -> int:
        """Token rows and columns per frame."""
        return super().grid if self.size == "micro" else self.frame_size // TOKEN_PIXELS

    def refuse_weights(
        self, folder: Path, stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
    ) -> None:
        """Refuse a configuration whose three maps are not those of the weights.

        Raises:
            CheckpointError: names what does not fit.
        """
        faults = [
            f"has no {part}, so sizes would be guessed"
            for part in ("text_config", "vision_config")
            if not isinstance(stored.get(part), Mapping)
        ]
        if not faults:
            tower = stored["vision_config"]
            blocks, depth = tower.get("deepstack_visual_indexes"), tower.get("depth")
            found = {match[1] for name in tensors if (match := _MERGER.search(name))}
            listed = blocks if isinstance(blocks, list) else []
            if len(listed) != len(found):
                faults.append(
                    f"vision_config.deepstack_visual_indexes is {blocks!r}, the weights have "
                    f"{len(found)} mergers of maps"
                )
            elif isinstance(depth, int) and not all(each in range(depth) for each in listed):
                faults.append(
                    f"vision_config.deepstack_visual_indexes is {blocks!r} of {depth} blocks"
                )
        if faults:
            raise CheckpointError(f"{folder}/config.json: {'; '.join(faults)}; {CURE}")

    def architecture(self) -> type[Qwen3VL]:
        """Qwen's own tower and language model."""
        from threedrs_components.students.qwen3_vl import model

        with_tower = self.deepstack_mergers == "vision"
        return model.MergersWithTower if with_tower else model.Qwen3VL
