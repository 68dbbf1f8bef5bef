"""Values that cross borders: frozen, documented shapes, no behaviour beyond checking themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    UInt8 = NDArray[np.uint8]
else:  # verbs that only read the journal start without numpy: 0.2 CPU-s less
    Float32 = UInt8 = Any


@dataclass(frozen=True)
class Boxes:
    """Objects of a scene. Boxes are axis-aligned, metres, z up: centre x y z, full size x y z."""

    object_ids: tuple[int, ...]
    labels: tuple[str, ...]
    boxes: Float32
    """[K, 6]"""

    def __post_init__(self) -> None:
        assert self.boxes.shape == (len(self.object_ids), 6), self.boxes.shape
        assert len(self.labels) == len(self.object_ids)


@dataclass(frozen=True)
class Scene:
    """One scene: a list of named frames, each with colour, depth and pose. F = number of frames."""

    scene_id: str
    frame_names: tuple[str, ...]
    images: UInt8
    """[F, H, W, 3] uint8, RGB"""
    depth: Float32
    """[F, h, w] float32, z-depth in metres, 0 = invalid"""
    color_intrinsics: Float32
    """[3, 3] pixels of the colour image"""
    depth_intrinsics: Float32
    """[3, 3] pixels of the depth image"""
    camera_to_world: Float32
    """[F, 4, 4] OpenCV camera (x right, y down, z forward) to world, metres"""
    axis_alignment: Float32
    """[4, 4] world to axis-aligned world (z up)"""
    objects: Boxes | None = None
    dropped_frames: Mapping[str, str] = field(default_factory=dict)
    """Frames that are no part of it, though they were there or listed, and why"""

    def __post_init__(self) -> None:
        frames = len(self.frame_names)
        assert self.images.shape[0] == self.depth.shape[0] == frames
        assert self.camera_to_world.shape == (frames, 4, 4)


@dataclass(frozen=True)
class FeatureMap:
    """Dense features of one scene's frames, with the frame names they were made from."""

    scene_id: str
    frame_names: tuple[str, ...]
    features: NDArray[np.floating[Any]]
    """[F, rows, columns, channels] float16 (stored) or float32"""


@dataclass(frozen=True)
class Sample:
    """One question, description or caption task about one scene.

    kind "ground": the answer is a set of boxes; kind "text": the answer is text.
    """

    sample_id: str
    benchmark: str
    scene_id: str
    kind: Literal["ground", "text"]
    prompt: str
    """What the model reads after the visual prefix, without chat markup."""
    answers: tuple[str, ...] = ()
    """Reference texts; the first is the training target."""
    target_ids: tuple[int, ...] = ()
    """Object ids of the targets; empty for a zero-target description."""
    target_boxes: tuple[tuple[float, ...], ...] = ()
    """One 6-vector per target."""
    box_input: tuple[float, ...] | None = None
    """Scan2Cap: the 6-vector of the object to describe."""
    question_type: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def misses_its_box(self) -> bool:
        """Whether a text about an object is wanted, and no box says which object: nothing is asked,
        and the empty text is the answer."""
        return self.kind == "text" and bool(self.target_boxes) and self.box_input is None


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one sample: text, or a score per candidate box."""

    sample_id: str
    text: str | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    """Candidate boxes, 6-vectors."""
    scores: tuple[float, ...] = ()
    """One per candidate, then one for "no object": len(boxes) + 1 cosines."""
    texts: tuple[str, ...] = ()
    """Several texts: ranked answers, best first, or one caption per box."""


@dataclass(frozen=True)
class Metric:
    """One number with what is needed to trust it. Percent where the metric is a share."""

    name: str
    """e.g. "scanrefer/acc@0.25", "probe/score", with "/TYPE" appended for a question type."""
    value: float
    n: int
    unit: str = "%"
    chance: float | None = None
    majority: float | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class SampleScore:
    """One per-sample (or per-scene) score, kept for paired tests and quartiles."""

    metric: str
    sample_id: str
    scene_id: str
    value: float
