"""Depth Anything 3 as a teacher: what one may choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import PositiveInt

from threedrs_components.teachers.da3.architecture import Reference
from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.settings import FrameTeacherConfig, Framing
from threedrs_components.teachers.teacher import check_image_size, layer_index
from threedrs_components.teachers.trunk_tensors import da3_trunk
from threedrs_components.teachers.weight_headers import (
    refuse_misfits,
    stored_tensors,
    weights_path,
)
from threedrs_platform.config import PLACE, REPORTED

if TYPE_CHECKING:
    from threedrs_components.teachers.da3.architecture import DA3Architecture
    from threedrs_components.teachers.da3.teacher import DA3Teacher

PATCH = 14
"""Of all released sizes."""


class DA3Config(FrameTeacherConfig):
    """Depth Anything 3: many frames in, camera-aware dense features out. Four sizes."""

    weights: ClassVar[str] = (
        "model.safetensors of depth-anything/DA3-SMALL or DA3-BASE (Apache-2.0), DA3-LARGE-1.1 or "
        "DA3-GIANT-1.1 (CC BY-NC 4.0)"
    )
    gives_depth: ClassVar[bool] = True
    depth_parts: ClassVar[tuple[str, ...]] = ("model.head.",)

    kind: Literal["da3"] = "da3"
    sees: Annotated[Literal["3d"], REPORTED] = "3d"
    checkpoint: Annotated[str, PLACE]
    """The .safetensors file, or the folder it is in; its own shapes decide the widths."""
    layer: int = -1
    """Block whose output is the feature; -1 is the last. Before the block from which on frames see
    each other (4 of 12, 8 of 24, 13 of 40) features are those of single frames."""
    half: Literal["both", "global"] = "both"
    """both: the last look inside the frame beside the normalised output, 2 * C channels; global:
    the normalised output alone, C channels."""
    reference: Reference = "balanced"
    """Which of three or more frames the world is told from; of fewer it is the first. Features
    depend on it. "balanced" compares computed numbers, so that devices may differ in close cases;
    "first" never does."""
    framing: Framing = "aspect"
    image_size: PositiveInt = 504
    """Width in pixels that frames are brought to, and the most height: a multiple of the patch
    size, 14."""
    licence: str = ""
    """Terms of the weights, kept with every feature file; empty is those of the released weights
    of that width."""

    def refuse_weights(self) -> None:
        """Refuse a layer that is none, and tensors too few, too many or of other shapes."""
        from threedrs_components.teachers.da3.checkpoint import PARTS, TRUNK

        path = weights_path(self.checkpoint)
        tensors, shape = stored_tensors(path), self.stored_architecture()
        if tensors is None or shape is None:
            return
        layer_index(self.kind, self.layer, shape.depth)
        expected = {f"{TRUNK}{name}": each for name, each in da3_trunk(shape).items()}
        refuse_misfits(path, tensors, expected, (TRUNK,), PARTS)

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Of the image size, in the checkpoint's patches, or the released ones' before it is here.

        Raises:
            CheckpointError: a checkpoint of another model.
            ConfigError: an image size that is no multiple of its patches.
        """
        stored = self.stored_architecture()
        patch = PATCH if stored is None else stored.patch_size
        check_image_size(self.image_size, patch)
        return self.finest(frame, self.image_size, patch)

    def stored_architecture(self) -> DA3Architecture | None:
        """Widths of the checkpoint, as its header tells; None before it is here.

        Raises:
            CheckpointError: a checkpoint of another model.
        """
        from threedrs_components.teachers.da3.checkpoint import architecture_of

        tensors = stored_tensors(self.checkpoint)
        return None if tensors is None else architecture_of(weights_path(self.checkpoint), tensors)

    def build(self, device: str = "cpu") -> DA3Teacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        from threedrs_components.teachers.da3.teacher import DA3Teacher

        return DA3Teacher.load(self, device)
