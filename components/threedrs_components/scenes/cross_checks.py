"""What a scene's parts say about each other: numbers, limits, and what usually lies behind them.

Nothing here changes a scene. A scene without depth says nothing and is not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.frames import rotation_error
from threedrs_components.scenes.prepare_config import ChecksConfig
from threedrs_components.scenes.view_agreement import SIDE, best_reading, depth_samples, views_agree
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Float32, Scene

Verdict = Literal["passed", "warning", "refused", "not measured"]

FEWEST_BOXES = 4
"""Boxes below which a share of them tells nothing."""
FEWEST_VIEWS = 6
"""Frames below which many boxes may well be out of sight."""
OUTLIERS = 2.0
"""Percent of points at either end that are no part of a room's extent."""
BEYOND = 5.0
"""Factor outside the usual extent at which a room cannot be."""
SURE = 0.93
"""Agreement of views from which on no other reading is tried."""
MANY_PAIRS = 12
"""Pairs of views that must agree under another reading where none overlap as they are."""


@dataclass(frozen=True)
class Check:
    """One number about a scene, and what was made of it."""

    name: str
    value: float | None
    """None where the scene does not let it be measured"""
    low: float | None
    high: float | None
    verdict: Verdict
    advice: str
    """What usually lies behind a bad value, and what to do"""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name} cannot be measured: {self.advice}"
        least = [] if self.low is None else [f"at least {self.low:.3g}"]
        most = [] if self.high is None else [f"at most {self.high:.3g}"]
        limits = " and ".join([*least, *most])
        return f"{self.name} is {self.value:.3g}, expected {limits}: {self.advice}"


def geometry_checks(scene: Scene, limits: ChecksConfig) -> tuple[Check, ...]:
    """Poses, cameras, agreement of views, and size of the room."""
    if not (scene.depth > 0).any():
        return ()
    return (
        _judged(
            "rotation error of poses",
            float(rotation_error(scene.camera_to_world).max()),
            "poses scale, shear or mirror; divide the scale out of their upper left 3x3",
            high=limits.max_rotation_error,
        ),
        _centre("depth", scene.depth_intrinsics, scene.depth, limits),
        _centre("colour", scene.color_intrinsics, scene.images, limits),
        _judged(
            "mismatch of what colour and depth show",
            view_mismatch(scene),
            "their fields of view or aspects differ, so tokens would get coordinates of other "
            "pixels; crop or warp the one to the other and give the intrinsics of the result",
            high=limits.max_view_mismatch,
        ),
        *_agreement(scene, limits),
        _extent(scene, limits),
    )


def box_check(name: str, hit: NDArray[np.bool_], views: int, limits: ChecksConfig) -> Check:
    """Whether boxes [K] bool of one kind lie where the scene is, as so many frames see it."""
    check = f"share of {name} that hold a pixel"
    if len(hit) < FEWEST_BOXES or views < FEWEST_VIEWS:
        return _judged(check, None, f"takes {FEWEST_BOXES} of them and {FEWEST_VIEWS} frames")
    advice = (
        "they are in another frame than the scene: axis-aligned boxes over scenes that are not "
        "(give axis_alignment in boxes.json, or the frame list that has it), or of another scene"
    )
    return _judged(check, float(hit.mean()), advice, low=limits.min_boxes_hit)


def require(scene_id: str, checks: tuple[Check, ...]) -> None:
    """Refuse a scene that contradicts itself.

    Raises:
        SceneError: says each number, its limit, what it usually means and the cure.
    """
    refused = [str(check) for check in checks if check.verdict == "refused"]
    if refused:
        cure = "limits are prepare.checks; mode: tell lets scenes pass"
        raise SceneError(scene_id, f"contradicts itself: {'; '.join(refused)} ({cure})")


def view_mismatch(scene: Scene) -> float:
    """Largest distance between the edges of what depth and colour show, as a share of the frame."""
    depth = _edges(scene.depth_intrinsics, *scene.depth.shape[1:3])
    color = _edges(scene.color_intrinsics, *scene.images.shape[1:3])
    return float((np.abs(depth - color) / (depth[:, 1] - depth[:, 0])[:, None]).max())


def _edges(intrinsics: Float32, height: int, width: int) -> NDArray[np.float64]:
    """Tangents of the view's edges: [[left, right], [top, bottom]]."""
    focal, centre = np.diag(intrinsics)[:2].astype(float), intrinsics[:2, 2].astype(float)
    ends = np.array([[-0.5, width - 0.5], [-0.5, height - 0.5]])
    tangents: NDArray[np.float64] = (ends - centre[:, None]) / focal[:, None]
    return tangents


def _centre(
    name: str, intrinsics: Float32, images: NDArray[np.generic], limits: ChecksConfig
) -> Check:
    height, width = images.shape[1:3]
    middle = np.array([width - 1, height - 1]) / 2
    offset = np.abs(intrinsics[:2, 2] - middle) / np.maximum(middle, 1)
    return _judged(
        f"offset of the {name} camera's principal point",
        float(offset.max()),
        f"the intrinsics are of another size than the {name} images of {width} x {height}; when "
        "images are resized, the first two rows of their intrinsics are too",
        high=limits.max_centre_offset,
    )


def _agreement(scene: Scene, limits: ChecksConfig) -> tuple[Check, ...]:
    found = views_agree(scene)
    name = "agreement of overlapping views"
    advice = "poses, camera axes, depth scale or intrinsics are wrong, or depth is of other frames"
    if found is None or found.share < SURE:
        best, reading = best_reading(scene)
        gain = best.share - (0.0 if found is None else found.share)
        shown = found is not None or best.pairs >= MANY_PAIRS
        if shown and gain > limits.max_gain and best.share > limits.min_agreement:
            told = f"they agree to {best.share:.2f} {reading}"
            gained = _judged("gain of another reading", gain, told, high=limits.max_gain)
            value = None if found is None else found.share
            return _judged(name, value, advice, low=limits.min_agreement), gained
    if found is None:
        return (
            _judged(
                name, None, "too few of the chosen frames see one place while the camera moves"
            ),
        )
    return (
        _judged(name, found.share, advice, low=limits.min_agreement),
        _worth_a_look(
            "median relative error of depth between views",
            found.error,
            "much of what one view sees is hidden from the other (no fault), or focal lengths are "
            f"a fifth off, or {advice}",
            high=limits.usual_view_error,
        ),
    )


def _extent(scene: Scene, limits: ChecksConfig) -> Check:
    points, valid = depth_samples(scene.depth, scene.depth_intrinsics, SIDE)
    to_world = scene.axis_alignment.astype(float) @ scene.camera_to_world.astype(float)
    world = points @ np.swapaxes(to_world[:, :3, :3], 1, 2) + to_world[:, None, :3, 3]
    advice = "depth or poses are not in metres (scenes.depth_scale says units of depth per metre)"
    name = "longest side of the room in metres"
    if not valid.any():
        return _judged(name, None, "hardly any pixel has depth")
    ends = np.percentile(world[valid], [OUTLIERS, 100 - OUTLIERS], axis=0)
    side, (low, high) = float((ends[1] - ends[0]).max()), limits.usual_extent_m
    if low <= side <= high or not low / BEYOND <= side <= high * BEYOND:
        return _judged(name, side, advice, low=low, high=high)
    return Check(name, side, low, high, "warning", advice)


def _worth_a_look(name: str, value: float, advice: str, *, high: float) -> Check:
    verdict: Verdict = "passed" if value <= high else "warning"
    return Check(name, value, None, high, verdict, advice)


def _judged(
    name: str,
    value: float | None,
    advice: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Check:
    if value is None:
        return Check(name, None, low, high, "not measured", advice)
    inside = (low is None or value >= low) and (high is None or value <= high)
    return Check(name, value, low, high, "passed" if inside else "refused", advice)
