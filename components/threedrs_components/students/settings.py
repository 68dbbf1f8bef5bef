"""What every kind of student lets one choose. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import CONDUCT, PLACE, REPORTED, Config

if TYPE_CHECKING:
    from threedrs_components.students.student import Student
    from threedrs_components.tensor_headers import StoredTensor

ObjectFeatures = Literal["llm", "vision", "both"]
ObjectMembership = Literal["share", "released"]
LinearLayer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""Those of a decoder layer, in all language models of our students."""
Part = Literal["vision", "projector", "language"]
"""What fine-tuning can freeze; see `Student.part_prefixes`."""
Size = Literal["micro", "0.5b", "2b", "3b", "4b", "7b", "8b"]
Newline = Literal["row", "end", "none"]
"""Where a learned vector stands: after each row of tokens, after all frames, or nowhere."""


class MicroWidths(Config):
    """Sizes of the micro student: the real architecture, small enough for one CPU thread."""

    image_size: PositiveInt = 64
    """Pixels of a frame's side, as the vision tower takes it; `prepare.image_size` must be the
    same."""
    patch_size: PositiveInt = 8
    """Pixels of a patch's side; two by two patches are pooled into one visual token."""
    vision_width: PositiveInt = 64
    """Channels of the vision tower."""
    vision_layers: PositiveInt = 2
    """Blocks of the vision tower."""
    vision_heads: PositiveInt = 4
    """Attention heads of the vision tower."""
    vision_ff: PositiveInt = 128
    """Channels inside the vision tower's feed-forward layers."""
    width: PositiveInt = 128
    """Channels of the language model: of its hidden states."""
    layers: PositiveInt = 3
    """Blocks of the language model."""
    heads: PositiveInt = 4
    """Attention heads of the language model, for queries."""
    key_value_heads: PositiveInt = 4
    """Attention heads for keys and values; fewer than `heads` share them."""
    ff: PositiveInt = 256
    """Channels inside the language model's feed-forward layers."""

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.image_size % (2 * self.patch_size):
            raise ValueError("image_size must be a multiple of 2 * patch_size")
        return self


class LoraSettings(Config):
    """Low-rank adapters that learn in place of the language model (LoRA, arXiv 2106.09685).

    The rows of `<ground>` and `<coord>` learn, too: their meaning is new to the model. Needs peft.
    """

    rank: PositiveInt = 64
    """Columns of an adapter's two factors; more can change more, and cost more."""
    alpha: PositiveFloat = 16
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Drawn per round of a step: where a round is more than one scene, another number of workers
    or rounds draws otherwise. The released code has 0.05."""
    targets: tuple[LinearLayer, ...] = Field(default=get_args(LinearLayer), min_length=1)
    """The linear layers that are adapted, all of them by default."""


class StudentSettings(Config):
    """What every kind of student lets one choose, and what each kind states about itself.

    A kind is a subclass in a module of its own. It imports the torch code of its architecture in
    `architecture()` only, so that a grid file is read without torch.
    """

    kind: str
    """The name of the kind; each subclass allows its own."""
    size: Size = "micro"
    """micro, or one of the sizes that weights of the kind are published in."""
    checkpoint: Annotated[str | None, PLACE] = None
    """A student folder, or for a published size its weights."""
    method: Annotated[Literal["3DRS", "Video-3D LLM", "Ross3D"] | None, REPORTED] = None
    """Whose trained weights the checkpoint holds: reports set them beside that method's numbers."""
    position_encoding: bool = False
    """Add the sine encoding of world coordinates to visual tokens and object features."""
    object_features: ObjectFeatures = "llm"
    """Where candidates are pooled: last hidden states, projected vision tokens, or their mean."""
    object_membership: ObjectMembership = "share"
    """How a token counts for a candidate: by the share of its pixels inside the box, or as
    released all or nothing: hidden states from an eighth of the pixels on (91 of 729), vision
    tokens from half of them on (98 of 196) and before they are pooled. The latter reads
    prepare.patch_grid, unless the student pools inside its vision tower."""
    coord_input: Literal["region", "encoding"] = "region"
    """What `<coord>` carries: the box's visual feature, or as released only the encoding of its
    centre, which needs position_encoding."""
    blind: bool = False
    """Control: no visual token, object features zero."""
    frozen: tuple[Part, ...] = ()
    """Parts that fine-tuning leaves as they are. The others learn at the rates of `training`."""
    lora: LoraSettings | None = None
    """Adapt the language model instead of training it. The saved student has the adapters merged
    into its weights, so nobody who reads it needs to know."""
    gradient_checkpointing: Annotated[bool, CONDUCT] = False
    """Compute activations twice rather than keep them: the same numbers in less memory."""
    micro: MicroWidths = MicroWidths()
    """Widths, where `size` is micro; without effect in published sizes."""

    published: ClassVar[Mapping[str, str]]
    """By model_type in config.json, where weights of this kind come from."""
    not_read: ClassVar[Mapping[str, str]] = {}
    """By model_type, what weights are that look like this kind's and cannot be read; the cure."""
    of_training: ClassVar[tuple[str, ...]] = (
        "blind",
        "coord_input",
        "frozen",
        "lora",
        "object_features",
        "object_membership",
        "position_encoding",
    )
    """Settings that a student's start does not depend on."""
    of_weights: ClassVar[tuple[str, ...]] = ()
    """Settings that are stored with a student, and stay what they were."""
    newline: ClassVar[Newline] = "none"
    real_image_size: ClassVar[int] = 384
    """Side of the frames at published sizes."""
    real_patch_size: ClassVar[int] = 14
    """Side of a vision patch at published sizes."""
    real_grid: ClassVar[int] = 14
    """Token rows and columns per frame at published sizes."""
    real_layers: ClassVar[Mapping[str, int]] = {"7b": 28}
    """Layers of the language model by published size."""
    real_patch_grid: ClassVar[int | None] = 27
    """Rows of vision tokens before pooling at published sizes; None where the tower pools them."""

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if self.coord_input == "encoding" and not self.position_encoding:
            raise ValueError("coord_input 'encoding' says nothing without position_encoding: true")
        if self.size != "micro" and self.size not in self.real_layers:
            sizes = ", ".join(["micro", *self.real_layers])
            raise ValueError(f"size {self.size!r}: {self.kind} comes in sizes {sizes}")
        if self.size != "micro" and self.checkpoint is None:
            raise ValueError(f"size {self.size!r} needs checkpoint: a folder with the weights")
        if self.lora is not None and "language" in self.frozen:
            raise ValueError(
                "lora adapts the language model, and frozen keeps it: drop one of both"
            )
        return self

    def start(self) -> Self:
        """Settings that the student's start depends on: those of use in training are defaults."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in self.of_training})

    @property
    def image_size(self) -> int:
        """Side of the frames that scenes must be prepared with."""
        return self.micro.image_size if self.size == "micro" else self.real_image_size

    @property
    def covered(self) -> int:
        """Side of the whole patches of a frame: the tower never sees what is left of it."""
        if self.size == "micro":
            return self.micro.image_size
        return self.real_image_size - self.real_image_size % self.real_patch_size

    @property
    def layers(self) -> int:
        """Layers of the language model."""
        return self.micro.layers if self.size == "micro" else self.real_layers[self.size]

    @property
    def grid(self) -> int:
        """Token rows and columns per frame."""
        if self.size == "micro":
            return self.micro.image_size // (2 * self.micro.patch_size)
        return self.real_grid

    @property
    def patch_grid(self) -> int | None:
        """Rows of vision tokens before pooling that released object features need, if any."""
        reads_vision = self.object_features in ("vision", "both") and not self.blind
        if self.object_membership == "share" or not reads_vision or self.real_patch_grid is None:
            return None
        if self.size == "micro":
            return self.micro.image_size // self.micro.patch_size
        return self.real_patch_grid

    @property
    def variant(self) -> str:
        """What tells published weights of the kind apart: their size, where nothing else does."""
        return self.size

    def refuse_weights(
        self, folder: Path, stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
    ) -> None:
        """Refuse published weights that the kind would read as another model than they are.

        Args:
            folder: of the weights.
            stored: its config.json, of one of the published types.
            tensors: by name, as headers describe them.

        Raises:
            CheckpointError: names what does not fit, and what would.
        """

    @abstractmethod
    def architecture(self) -> type[Student]:
        """The class that this kind configures."""
