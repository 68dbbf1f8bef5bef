"""Probe scenes on disk with a named model: the work behind `workflows probe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from threedrs_components.probing.common_views import telling_views
from threedrs_components.probing.scene_probe import (
    PAPER_GRID,
    SceneFeatures,
    SceneProbe,
    distinct_frames,
    probe_scene,
)
from threedrs_components.scenes.cross_checks import Check, geometry_checks
from threedrs_components.scenes.frames import frame_tensor, resize_images
from threedrs_components.scenes.geometry import cell_means
from threedrs_components.scenes.picture import draw_correspondences
from threedrs_components.scenes.preparation_report import scene_warnings
from threedrs_components.scenes.prepare_config import ChecksConfig, Level
from threedrs_components.scenes.prepared import scene_points
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.places import Place
from threedrs_components.students.registry import STUDENTS, open_student
from threedrs_components.teachers.registry import TEACHERS, teacher_config
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, DataError, Fault, SceneError, StorageError
from threedrs_platform.records import Scene
from threedrs_workflows.objective_checks import check_places

LIMITS = ChecksConfig()
CURE = "repair it, or leave it out with --on-bad-scene skip"
NO_PAIRS = (
    "is a voxel seen from two frames, so there is no score; take more --frames or a larger "
    "--voxel, and look whether poses and depth are in metres"
)
FEWEST_PAIRS = 12
"""Pairs of tokens without which colours tell nothing."""
LEAST_COLOUR = 0.25
"""Margin of standardised mean colours that pictures of the same place have: in rendered and in real
rooms it is above 0.5, and about 0 where pictures belong to other frames."""


@dataclass(frozen=True)
class ProbeRequest:
    """What `workflows probe` was asked for."""

    scenes: Path
    model: str
    checkpoint: str | None
    layer: Place
    level: Level
    grid: int | None
    voxel_m: float
    frames: int
    on_bad_scene: Literal["refuse", "skip"]
    min_frames: int
    depth_scale: float
    picture: Path | None


@dataclass
class ProbeOutcome:
    """Scenes probed, and those left out with the reason."""

    probes: list[SceneProbe] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    """By scene, why its score tells nothing of a model, or little."""


def probe_scenes(request: ProbeRequest, report: Callable[[str], None]) -> ProbeOutcome:
    """Probe every scene under a folder.

    Args:
        request: what to do.
        report: told one line per scene, and what was drawn or left out.

    Raises:
        ConfigError: the request cannot be met.
        DataError: no scene is usable, or one is not and bad scenes are refused.
    """
    source = RGBDFolder(request.scenes, request.frames, request.min_frames, request.depth_scale)
    outcome = ProbeOutcome()
    scene_ids = source.scenes()
    features_of = _load_features(request)
    for scene_id in scene_ids:
        try:
            scene = distinct_frames(source.load(scene_id))
            checks = geometry_checks(scene, LIMITS)
            _refuse_contradictions(scene_id, checks, request.scenes)
        except SceneError as error:
            if request.on_bad_scene == "refuse":
                raise SceneError(scene_id, f"{error.reason}; {CURE}", error.path) from error
            outcome.skipped[scene_id] = error.reason
            report(f"skipped {error}")
            continue
        for line in scene_warnings(scene_id, scene.dropped_frames, checks):
            report(line)
        probe = _probe(scene, features_of, request)
        outcome.probes.append(probe)
        if (doubt := _doubt(scene, probe, request.voxel_m)) is not None:
            outcome.doubts[scene_id] = doubt
        if probe.score.frames < request.frames:
            report(f"{scene_id}: only {probe.score.frames} distinct frames of {request.frames}")
        if request.picture is not None and len(outcome.probes) == 1:
            report(_draw_views(scene, request.picture, request.voxel_m))
    if not outcome.probes:
        raise DataError(f"{request.scenes}: none of {len(scene_ids)} scenes is usable")
    if not any(probe.score.pairs for probe in outcome.probes):
        raise DataError(f"{request.scenes}: in none of {len(outcome.probes)} scenes {NO_PAIRS}")
    return outcome


def _load_features(request: ProbeRequest) -> SceneFeatures:
    """The model that `--model` names.

    Raises:
        ConfigError: no such model, or flags that it cannot have.
        CheckpointError: the checkpoint does not fit.
    """
    if request.model not in (*TEACHERS, *STUDENTS):
        hint = did_you_mean(request.model, (*TEACHERS, *STUDENTS))
        raise _fault("--model", f"no model {request.model!r}{hint}")
    needs_weights = request.model in STUDENTS or TEACHERS[request.model].weights is not None
    if request.checkpoint is None and needs_weights:
        raise _fault("--checkpoint", f"the model {request.model!r} needs weights; name their path")
    if request.model in TEACHERS:
        return _teacher(request)
    return _student(str(request.checkpoint), request.layer)


def _teacher(request: ProbeRequest) -> SceneFeatures:
    if isinstance(request.layer, str):
        raise _fault("--layer", f"{request.layer!r} is a place in a student; a teacher has blocks")
    try:
        config = teacher_config(request.model, request.checkpoint, layer=request.layer)
    except ConfigError as error:
        raise ConfigError([_of_flag(fault) for fault in error.faults]) from error
    teacher = config.at_grid(request.grid or PAPER_GRID).build()

    def features_of(scene: Scene) -> Tensor:
        with torch.no_grad():
            return teacher.scene_features(scene)

    return features_of


def _of_flag(fault: Fault) -> Fault:
    """A fault of the teacher's configuration, by the flag of the same name."""
    return replace(fault, path=f"--{fault.path.removeprefix(f'{TEACHERS.what}.')}")


def _student(checkpoint: str, layer: Place) -> SceneFeatures:
    # Brings transformers, seconds that the other models need not wait for.
    from threedrs_components.students.checkpoints import student_features

    student = open_student(checkpoint)
    if student.fusion is not None:
        message = (
            f"{checkpoint}: the student reads a teacher's features beside its frames, which this "
            "verb does not extract; the step `probe` of its grid does"
        )
        raise ConfigError([Fault(message, path="--checkpoint")])

    try:
        check_places([layer], student.config.layers)
    except ValueError as error:
        raise _fault("--layer", str(error)) from error

    def features_of(scene: Scene) -> Tensor:
        size, grid = student.image_size, student.grid
        images = frame_tensor(resize_images(scene.images, size, size))
        coordinates, _ = cell_means(*scene_points(scene), grid, grid)
        return student_features(student, images, coordinates, layer)

    return features_of


def _probe(scene: Scene, features_of: SceneFeatures, request: ProbeRequest) -> SceneProbe:
    height, width = scene.images.shape[1:3]
    if request.grid is not None and request.grid > min(height, width):
        message = f"{request.grid} tokens do not fit across frames of {width} x {height} pixels"
        raise _fault("--grid", message)
    try:
        return probe_scene(
            scene,
            features_of,
            grid=request.grid,
            voxel_m=request.voxel_m,
            level=request.level,
        )
    except SceneError:
        raise
    except ValueError as error:
        raise _fault("--grid", str(error)) from error


def _draw_views(scene: Scene, out: Path, voxel_m: float) -> str:
    """Write the picture, and say what it shows or why there is none.

    Raises:
        StorageError: it cannot be written.
    """
    views = telling_views(scene, voxel_m)
    if views is None:
        return f"{out}: not drawn, no two frames of {scene.scene_id} see the same voxel"
    first, second = (scene.frame_names[view] for view in views)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_correspondences(scene, *views, voxel_m=voxel_m).save(out, format="PNG")
    except OSError as error:
        raise StorageError(f"{out}: the picture cannot be written: {error}") from error
    return f"{out}: {first} and {second} of {scene.scene_id}, equal places joined"


def _refuse_contradictions(scene_id: str, checks: Sequence[Check], folder: Path) -> None:
    """Refuse what no score can be read of: what corresponds is not known.

    Raises:
        SceneError: says each number and its limit.
    """
    refused = "; ".join(str(check) for check in checks if check.verdict == "refused")
    if refused:
        raise SceneError(scene_id, f"contradicts itself: {refused}", folder)


def _doubt(scene: Scene, probe: SceneProbe, voxel_m: float) -> str | None:
    """Why the score of a scene tells little, where its pairs or its pictures say so."""
    if not probe.score.pairs:
        return "no voxel is seen from two frames: no score; take more --frames or a larger --voxel"
    grid = min(PAPER_GRID, *scene.images.shape[1:3])
    colours = probe_scene(scene, _colours, grid=grid, voxel_m=voxel_m, level="token").score
    if colours.pairs < FEWEST_PAIRS or colours.standardised_margin >= LEAST_COLOUR:
        return None
    return (
        f"its pictures look no more alike where depth and poses say one place is (margin of mean "
        f"colours {colours.standardised_margin:.2f}, expected {LEAST_COLOUR:g} or more): they are "
        "of other frames or of another scene, or all walls look the same"
    )


def _colours(scene: Scene) -> Tensor:
    """Frames as features of their pixels."""
    return frame_tensor(scene.images).permute(0, 2, 3, 1)


def _fault(flag: str, message: str) -> ConfigError:
    return ConfigError([Fault(message, path=flag)])
