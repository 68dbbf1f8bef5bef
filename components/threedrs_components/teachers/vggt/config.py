"""VGGT as a teacher: what one may choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from threedrs_components.teachers.settings import FrameTeacherConfig, Framing
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.weight_headers import stored_tensors
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

    def own_grid(self) -> int | None:
        """Of the square that frames are brought into at most."""
        if self.checkpoint is None:
            return self.architecture.image_size // self.architecture.patch_size
        from threedrs_components.teachers.vggt.checkpoint import architecture_of

        tensors = stored_tensors(self.checkpoint)
        if tensors is None:
            return None
        stored = architecture_of(Path(self.checkpoint), tensors)
        return stored.image_size // stored.patch_size

    def build(self, device: str = "cpu") -> VGGTTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.vggt.teacher import VGGTTeacher

        return VGGTTeacher.load(self, device)
