"""Pi3 as a teacher: what one may choose."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import PositiveInt

from threedrs_components.teachers.frame_shapes import SQUARE, Shape, patches_within
from threedrs_components.teachers.pi3.architecture import PAIRS
from threedrs_components.teachers.settings import FrameTeacherConfig, Framing
from threedrs_components.teachers.teacher import layer_index
from threedrs_components.teachers.trunk_tensors import pi3_trunk
from threedrs_components.teachers.weight_headers import (
    refuse_misfits,
    stored_tensors,
    weights_path,
)
from threedrs_platform.config import PLACE, REPORTED

if TYPE_CHECKING:
    from threedrs_components.teachers.pi3.teacher import Pi3Teacher


class Pi3Config(FrameTeacherConfig):
    """Pi3: many frames in, dense features out that do not depend on which frame comes first."""

    weights: ClassVar[str] = "model.safetensors of yyfz233/Pi3 (CC BY-NC 4.0)"
    gives_depth: ClassVar[bool] = True
    depth_parts: ClassVar[tuple[str, ...]] = tuple(
        f"{name}_{part}." for name in ("point", "conf") for part in ("decoder", "head")
    )

    kind: Literal["pi3"] = "pi3"
    sees: Annotated[Literal["3d"], REPORTED] = "3d"
    checkpoint: Annotated[str, PLACE]
    """A .safetensors or .pt file, or its folder; its own shapes decide the widths."""
    layer: int = -1
    """Pair of decoder blocks that are the feature, side by side: 0 is blocks 0 (inside frames) and
    1 (over all frames), 17 or -1 are blocks 34 and 35, which the released heads read."""
    pixels: PositiveInt = 255_000
    """Pixels of a frame at most, and smaller frames are enlarged to it: 640 x 480 becomes
    574 x 434, of 41 x 31 patches."""
    framing: Framing = "aspect"
    """"aspect" is Pi3's own loader, which cuts nothing: one size for all frames, in whole patches,
    by Lanczos. The other two take the square of as many pixels."""
    licence: str = "CC BY-NC 4.0"

    def refuse_weights(self) -> None:
        """Refuse a layer that is none, and tensors too few, too many or of other shapes."""
        from threedrs_components.teachers.pi3.checkpoint import PARTS, TRUNK, trunk_sizes

        path = weights_path(self.checkpoint)
        tensors = stored_tensors(path)
        if tensors is None:
            return
        sizes = trunk_sizes(path, tensors)
        layer_index(self.kind, self.layer, sizes.depth // 2, PAIRS)
        refuse_misfits(path, tensors, pi3_trunk(sizes), TRUNK, PARTS)

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """In the checkpoint's patches; None before it is here.

        Raises:
            CheckpointError: a checkpoint of another model.
        """
        from threedrs_components.teachers.pi3.checkpoint import trunk_sizes

        tensors = stored_tensors(self.checkpoint)
        if tensors is None:
            return None
        patch = trunk_sizes(weights_path(self.checkpoint), tensors).encoder.patch_size
        if self.framing == "aspect":
            return min(patches_within(frame, self.pixels, patch))
        return isqrt(self.pixels) // patch

    def build(self, device: str = "cpu") -> Pi3Teacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
            ConfigError: bfloat16 is asked of a CPU, or frames of fewer pixels than a patch.
        """
        from threedrs_components.teachers.pi3.teacher import Pi3Teacher

        return Pi3Teacher.load(self, device)
