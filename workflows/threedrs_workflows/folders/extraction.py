"""Extract features from folders on disk: the work behind `workflows extract`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from threedrs_components.pretraining.registry import TEACHER_PRETRAININGS
from threedrs_components.pretraining.teacher import QUALITY
from threedrs_components.probing.scene_probe import PAPER_GRID
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.teachers.extraction import Extraction, extract_scenes
from threedrs_components.teachers.registry import TEACHERS, teacher_config
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_platform.errors import ArtifactError, ConfigError, DataError, Fault
from threedrs_platform.workspace import Workspace, find_workspace

MOST_SHOWN = 3
"""Teachers of earlier runs that an error message lists."""


@dataclass(frozen=True)
class ExtractionRequest:
    """What `workflows extract` was asked for."""

    scenes: Path
    teacher: str
    checkpoint: str | None
    out: Path
    grid: int | None
    options: Mapping[str, Any]
    """Fields of the teacher's configuration."""
    frames: int
    candidates: int | None
    """Frames of a scene that there are to choose from; None is all."""
    coverage_voxel_m: float | None
    """Edge of the voxels by which they are chosen; None: evenly spread."""
    device: str | None
    on_bad_scene: Literal["refuse", "skip"]
    min_frames: int
    depth_scale: float
    workspace: str | None
    database: str | None


def extract_folder(
    request: ExtractionRequest, progress: Callable[[int, int, str], None]
) -> Extraction:
    """Store the features of every scene under a folder.

    Raises:
        ConfigError: the request cannot be met; says what to do.
        CheckpointError: the checkpoint does not fit.
        DataError: no scene is usable, or one is not and bad scenes are refused.
    """
    config = _checked(request)
    source = RGBDFolder(request.scenes, request.candidates, request.min_frames, request.depth_scale)
    scene_ids = source.scenes()
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    teacher = config.at_grid(request.grid or PAPER_GRID).build(device)
    extraction = extract_scenes(
        teacher,
        source,
        scene_ids,
        request.out,
        request.grid or min(PAPER_GRID, teacher.grid),
        num_frames=request.frames,
        coverage_voxel_m=request.coverage_voxel_m,
        max_cut=config.max_cut,
        skip_bad_scenes=request.on_bad_scene == "skip",
        progress=progress,
    )
    if not extraction.written and not extraction.kept:
        raise DataError(f"{request.scenes}: none of {len(scene_ids)} scenes is usable")
    return extraction


def _checked(request: ExtractionRequest) -> TeacherSettings:
    """The teacher's configuration, once all flags make sense."""
    faults = [
        Fault(f"{value} is not above 0", flag)
        for flag, value in (
            ("--grid", request.grid),
            ("--frames", request.frames),
            ("--voxel", request.coverage_voxel_m),
        )
        if value is not None and value <= 0
    ]
    known = TEACHERS.get(request.teacher)
    if request.checkpoint is None and known is not None and known.weights is not None:
        raise ConfigError([*faults, Fault(_what_to_do(request), "--checkpoint")])
    try:
        config = teacher_config(request.teacher, request.checkpoint, **request.options)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from error
    if faults:
        raise ConfigError(faults)
    return config


def _what_to_do(request: ExtractionRequest) -> str:
    complaint = (
        f"teacher {request.teacher} needs weights; name their path: the released ones are "
        f"{TEACHERS[request.teacher].weights}"
    )
    if request.teacher not in TEACHER_PRETRAININGS:
        return complaint
    found = _own_teachers(request)
    if found:
        micro = "or take one that an earlier run trained: " + ", ".join(map(str, found))
    else:
        micro = (
            f"or train a micro one: `workflows submit` of a grid with teacher {request.teacher} "
            "keeps it in its workspace, and this message then shows the path"
        )
    return f"{complaint}; {micro}"


def _own_teachers(request: ExtractionRequest) -> list[Path]:
    """Folders of teachers that runs of this workspace trained, newest first, a few at most."""
    with find_workspace(request.workspace, request.database, looks=True) as workspace:
        return _trained(workspace, request.teacher)[:MOST_SHOWN]


def _trained(workspace: Workspace, kind: str) -> list[Path]:
    folders = []
    for step, _ in workspace.journal.recipes({"teacher"}):
        if step.output_digest is None:
            continue
        try:
            folder = workspace.store.checkout(step.output_digest)
        except ArtifactError:
            continue  # collected since, so there is nothing to offer
        recipe = json.loads((folder / QUALITY).read_text())["recipe"]
        if recipe.get("kind") == kind and folder not in folders:
            folders.append(folder)
    return folders
