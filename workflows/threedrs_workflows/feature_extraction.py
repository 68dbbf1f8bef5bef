"""Extract features from folders on disk: the work behind `workflows extract`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.teachers import TEACHER_KINDS, load_teacher
from threedrs_components.teachers.extraction import Extraction, extract_scenes
from threedrs_components.teachers.pretraining import QUALITY
from threedrs_platform.errors import ArtifactError, ConfigError, DataError, Fault
from threedrs_platform.suggestions import did_you_mean
from threedrs_platform.workspace import Workspace, find_workspace

PAPER_GRID = 14
WHERE_WEIGHTS_ARE = {
    "vggt": "the released ones are model.safetensors of facebook/VGGT-1B (CC BY-NC 4.0)",
    "mae": "the released ones are facebook/vit-mae-large",
}
MOST_SHOWN = 3
"""Teachers of earlier runs that an error message lists."""


@dataclass(frozen=True)
class ExtractionRequest:
    """What `workflows extract` was asked for."""

    scenes: Path
    teacher: str
    checkpoint: str | None
    out: Path
    grid: int | None = None
    layer: int = -1
    frames: int = 32
    licence: str = ""
    device: str | None = None
    skip_bad_scenes: bool = False
    workspace: str | None = None
    database: str | None = None


def extract_folder(
    request: ExtractionRequest, progress: Callable[[int, int, str], None]
) -> Extraction:
    """Store the features of every scene under a folder.

    Raises:
        ConfigError: the request cannot be met; says what to do.
        CheckpointError: the checkpoint does not fit.
        DataError: no scene is usable, or one is not and bad scenes are refused.
    """
    checkpoint = _checked(request)
    source = RGBDFolder(request.scenes, request.frames)
    scene_ids = source.scenes()
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    teacher = load_teacher(
        request.teacher, checkpoint, device=device, layer=request.layer, licence=request.licence
    )
    extraction = extract_scenes(
        teacher,
        source,
        scene_ids,
        request.out,
        request.grid or min(PAPER_GRID, teacher.grid),
        skip_bad_scenes=request.skip_bad_scenes,
        progress=progress,
    )
    if not extraction.written and not extraction.kept:
        raise DataError(f"{request.scenes}: none of {len(scene_ids)} scenes is usable")
    return extraction


def _checked(request: ExtractionRequest) -> str:
    """The checkpoint's path, once all flags make sense."""
    faults = [
        Fault(f"{value} is not above 0", flag)
        for flag, value in (("--grid", request.grid), ("--frames", request.frames))
        if value is not None and value < 1
    ]
    if request.teacher not in TEACHER_KINDS:
        hint = did_you_mean(request.teacher, TEACHER_KINDS)
        faults.append(Fault(f"no teacher {request.teacher!r}{hint}", "--teacher"))
    elif request.checkpoint is None:
        faults.append(Fault(_what_to_do(request), "--checkpoint"))
    if faults or request.checkpoint is None:
        raise ConfigError(faults)
    return request.checkpoint


def _what_to_do(request: ExtractionRequest) -> str:
    found = own_teachers(request.teacher, request.workspace, request.database)
    if found:
        micro = "or take one that an earlier run trained: " + ", ".join(map(str, found))
    else:
        micro = (
            f"or train a micro one: `workflows submit` of a grid with teacher {request.teacher} "
            "keeps it in its workspace, and this message then shows the path"
        )
    return (
        f"teacher {request.teacher} needs weights; name their path: "
        f"{WHERE_WEIGHTS_ARE[request.teacher]}; {micro}"
    )


def own_teachers(kind: str, folder: str | None, database: str | None) -> list[Path]:
    """Folders of teachers that runs of this workspace trained, newest first, a few at most."""
    workspace = find_workspace(folder, database)
    if not workspace.root.is_dir():
        return []
    with workspace:
        return _trained(workspace, kind)[:MOST_SHOWN]


def _trained(workspace: Workspace, kind: str) -> list[Path]:
    folders = []
    for step, _ in workspace.journal.recipes({"teacher"}):
        if step.output_digest is None:
            continue
        try:
            folder = workspace.store.checkout(step.output_digest)
        except ArtifactError:
            continue  # collected since, so there is nothing to offer
        quality = json.loads((folder / QUALITY).read_text())
        if quality["recipe"]["teacher"]["kind"] == kind and folder not in folders:
            folders.append(folder)
    return folders
