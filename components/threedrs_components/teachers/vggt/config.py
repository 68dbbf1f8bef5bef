"""VGGT as a teacher: what one may choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.settings import FrameTeacherConfig, Framing
from threedrs_components.teachers.teacher import layer_index
from threedrs_components.teachers.trunk_tensors import vggt_aggregator
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.weight_headers import (
    refuse_misfits,
    stored_tensors,
    weights_path,
)
from threedrs_platform.config import PLACE, REPORTED

if TYPE_CHECKING:
    from threedrs_components.teachers.vggt.teacher import VGGTTeacher


class VGGTConfig(FrameTeacherConfig):
    """VGGT: many frames in, camera-aware dense features out. The 3D teacher of the paper."""

    weights: ClassVar[str] = "model.safetensors of facebook/VGGT-1B (CC BY-NC 4.0)"
    gives_depth: ClassVar[bool] = True
    depth_parts: ClassVar[tuple[str, ...]] = ("depth_head.",)

    kind: Literal["vggt"] = "vggt"
    sees: Annotated[Literal["3d"], REPORTED] = "3d"
    checkpoint: Annotated[str | None, PLACE] = None
    """A .safetensors or .pt file; its own shapes then decide the widths."""
    framing: Framing = "aspect"
    architecture: VGGTArchitecture = VGGTArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    def refuse_weights(self) -> None:
        """Refuse a layer that is none, and tensors too few, too many or of other shapes."""
        from threedrs_components.teachers.vggt.checkpoint import AGGREGATOR, PARTS

        path = weights_path(self.checkpoint or "")
        tensors, shape = stored_tensors(path), self.stored_architecture()
        if tensors is None or shape is None:
            return
        layer_index(self.kind, self.layer, shape.depth)
        expected = {f"{AGGREGATOR}{name}": each for name, each in vggt_aggregator(shape).items()}
        refuse_misfits(path, tensors, expected, (AGGREGATOR,), PARTS)

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Of the square that frames are brought into at most, in the rows that are left of it."""
        shape = self.architecture if self.checkpoint is None else self.stored_architecture()
        return None if shape is None else self.finest(frame, shape.image_size, shape.patch_size)

    def stored_architecture(self) -> VGGTArchitecture | None:
        """Widths of the checkpoint, as its header tells; None before it is here.

        Raises:
            CheckpointError: a checkpoint of another model.
        """
        from threedrs_components.teachers.vggt.checkpoint import architecture_of

        path = weights_path(self.checkpoint or "")
        tensors = stored_tensors(path)
        return None if tensors is None else architecture_of(path, tensors)

    def build(self, device: str = "cpu") -> VGGTTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.vggt.teacher import VGGTTeacher

        return VGGTTeacher.load(self, device)
