"""The registry of teachers: pretrained models that turn frames into dense features.

A new kind is a file of its own and a name in `AnyTeacher`. No step imports this module.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, overload

from pydantic import Field

from threedrs_components.teachers.colours import RGBConfig
from threedrs_components.teachers.da3.config import DA3Config
from threedrs_components.teachers.dinov2 import DINOv2Config
from threedrs_components.teachers.dinov3 import DINOv3Config
from threedrs_components.teachers.flare.config import FLAREConfig
from threedrs_components.teachers.mae.config import MAEConfig
from threedrs_components.teachers.pi3.config import Pi3Config
from threedrs_components.teachers.precomputed.config import PrecomputedConfig
from threedrs_components.teachers.settings import Sight, TeacherSettings
from threedrs_components.teachers.siglip2 import SigLIP2Config
from threedrs_components.teachers.vggt.config import VGGTConfig
from threedrs_platform.config.registry import Registry

if TYPE_CHECKING:
    from threedrs_components.teachers.da3.teacher import DA3Teacher
    from threedrs_components.teachers.pi3.teacher import Pi3Teacher
    from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher
    from threedrs_components.teachers.teacher import FrameTeacher, Teacher
    from threedrs_components.teachers.vggt.teacher import VGGTTeacher

AnyTeacher = (
    VGGTConfig
    | FLAREConfig
    | Pi3Config
    | DA3Config
    | DINOv2Config
    | DINOv3Config
    | MAEConfig
    | SigLIP2Config
    | RGBConfig
    | PrecomputedConfig
)
TeacherConfig = Annotated[AnyTeacher, Field(discriminator="kind")]
TEACHERS: Registry[TeacherSettings] = Registry("teacher", get_args(AnyTeacher))


def sight_of(kind: str) -> Sight | None:
    """What teachers of a kind learned from; None where there is no such kind, or it is not told."""
    return TEACHERS[kind].model_fields["sees"].default if kind in TEACHERS else None


def teacher_config(
    kind: str, checkpoint: str | PathLike[str] | None = None, **config: Any
) -> TeacherSettings:
    """The configuration of a teacher by its kind; further keywords are its fields.

    Raises:
        ConfigError: no such kind, or a wrong field.
    """
    given = config if checkpoint is None else {"checkpoint": checkpoint, **config}
    told = {
        name: fspath(value) if isinstance(value, PathLike) else value
        for name, value in given.items()
    }
    return TEACHERS.read({"kind": kind, **told})


@overload
def load_teacher(
    kind: Literal["vggt"], checkpoint: str | PathLike[str], **config: Any
) -> VGGTTeacher: ...
@overload
def load_teacher(
    kind: Literal["pi3"], checkpoint: str | PathLike[str], **config: Any
) -> Pi3Teacher: ...
@overload
def load_teacher(
    kind: Literal["da3"], checkpoint: str | PathLike[str], **config: Any
) -> DA3Teacher: ...
@overload
def load_teacher(
    kind: Literal["precomputed"], checkpoint: str | PathLike[str], **config: Any
) -> PrecomputedTeacher: ...
@overload
def load_teacher(
    kind: Literal["flare", "dinov2", "dinov2_reg", "dinov3", "mae", "siglip2", "rgb"],
    checkpoint: str | PathLike[str] | None = None,
    **config: Any,
) -> FrameTeacher: ...
@overload
def load_teacher(
    kind: str, checkpoint: str | PathLike[str] | None = None, **config: Any
) -> Teacher: ...
def load_teacher(
    kind: str, checkpoint: str | PathLike[str] | None = None, *, device: str = "cpu", **config: Any
) -> Teacher:
    """Load a teacher by its kind; further keywords are fields of its configuration.

    Every teacher has `scene_features(scene)`; all but "precomputed" have
    `features(frames)`: [F, 3, H, W] in [0, 1] -> [F, rows, columns, channels]. "vggt" has
    `tokens`, `cameras`, `depth` and `points` besides; "da3" has `tokens`, `cameras`, `depth` and
    `rays`, "pi3" `tokens`, `cameras` and `points`.

    Raises:
        ConfigError: no such kind, or a wrong field.
        CheckpointError: the checkpoint is missing or does not fit.
    """
    from threedrs_components.devices import named_device  # imports torch: no grid file needs it

    return teacher_config(kind, checkpoint, **config).build(named_device(device))
