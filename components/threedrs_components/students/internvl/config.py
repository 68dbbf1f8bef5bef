"""InternVL3-8B and InternVL3.5-8B, one tile per frame. Not in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from threedrs_components.students.internvl.layout import refuse_contradictions
from threedrs_components.students.settings import Part, StudentSettings
from threedrs_components.tensor_headers import StoredTensor

if TYPE_CHECKING:
    from threedrs_components.students.internvl.model import InternVL

SQUARE = 28
"""Pixels across a token: two patches of 14."""
LAYERS = {"3": 28, "3.5": 36}


class InternVLStudentConfig(StudentSettings):
    """At published size a token per 28 x 28 pixels, each frame behind its number."""

    kind: Literal["internvl"] = "internvl"
    release: Literal["3", "3.5"] = "3"
    """The language model: Qwen2.5-7B in InternVL3, Qwen3-8B in InternVL3.5."""
    frame_size: PositiveInt = Field(default=448, multiple_of=SQUARE)
    """Side of the frames at published sizes. The tower was trained at 448, which makes 16 x 16
    tokens; for others its position table is interpolated (bicubic, as in transformers): 392 makes
    14 x 14, the grid of the paper's students."""
    frame_name: Literal["Frame1", "Frame-1"] = "Frame1"
    """What stands before a frame: `Frame1: ` in InternVL's chat example and in transformers,
    `Frame-1: ` in the code that it was trained by."""
    system: str = ""
    """What stands before the question at published sizes: nothing in transformers' template, a
    sentence in Chinese in InternVL's own (its conversation `internvl2_5`)."""
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is InternVL3's for fine-tuning."""
    published: ClassVar[Mapping[str, str]] = {
        "internvl": "OpenGVLab/InternVL3-8B-hf, OpenGVLab/InternVL3_5-8B-HF",
        "internvl_chat": "OpenGVLab/InternVL3-8B, OpenGVLab/InternVL3_5-8B",
    }
    of_weights: ClassVar[tuple[str, ...]] = ("release", "frame_name", "system")
    real_layers: ClassVar[Mapping[str, int]] = {"8b": LAYERS["3"]}
    real_patch_grid: ClassVar[int | None] = None

    @model_validator(mode="after")
    def _micro_has_no_system(self) -> Self:
        if self.size == "micro" and self.system:
            raise ValueError("system: the chat of a micro student has no system turn; drop it")
        return self

    @property
    def image_size(self) -> int:
        """Side of the frames that scenes must be prepared with."""
        return self.micro.image_size if self.size == "micro" else self.frame_size

    @property
    def covered(self) -> int:
        """All of a frame: its side is a whole number of patches."""
        return self.image_size

    @property
    def layers(self) -> int:
        """Layers of the language model."""
        return self.micro.layers if self.size == "micro" else LAYERS[self.release]

    @property
    def grid(self) -> int:
        """Token rows and columns per frame: half those of patches."""
        return super().grid if self.size == "micro" else self.frame_size // SQUARE

    @property
    def variant(self) -> str:
        """The release: both have one size."""
        return self.release

    def refuse_weights(
        self, folder: Path, stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
    ) -> None:
        """Refuse another language model or release, and tensors laid out in another way.

        Raises:
            CheckpointError: names everything that does not fit, and what would.
        """
        refuse_contradictions(folder, stored, tensors, self.release)

    def architecture(self) -> type[InternVL]:
        """InternViT before Qwen2.5 or Qwen3."""
        from threedrs_components.students.internvl.model import InternVL, InternVL35

        return InternVL if self.release == "3" else InternVL35
