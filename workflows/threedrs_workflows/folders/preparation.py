"""Prepare folders of scenes for a student: the work behind `workflows prepare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.prepared import (
    PrepareConfig,
    PreparedScene,
    PreparedScenes,
    prepare_scene,
    scene_pairs,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import DataError, SceneError, StorageError


@dataclass(frozen=True)
class PreparedSummary:
    """What one prepared scene holds."""

    scene: str
    frames: int
    tokens: int
    tokens_with_depth: int
    objects: int
    proposals: int
    pairs: int


@dataclass(frozen=True)
class Preparation:
    """What was prepared, and what was left out, scene and reason."""

    scenes: tuple[PreparedSummary, ...]
    skipped: dict[str, str]


def prepare_folder(
    scenes: Path,
    out: Path,
    config: PrepareConfig,
    proposals: Path | None,
    progress: Callable[[int, int, str], None],
) -> Preparation:
    """Prepare every scene under a folder; scenes that `out` holds already are kept.

    Raises:
        DataError: a scene is unusable and bad scenes are refused, or no scene is usable.
        StorageError: `out` is no folder and cannot be made one.
    """
    source = RGBDFolder(scenes)
    candidates = read_candidates(proposals) if proposals else {}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot hold prepared scenes: {error.strerror}") from error
    done, summaries = PreparedScenes(out), []
    skipped: dict[str, str] = {}
    scene_ids = source.scenes("all")
    for number, scene_id in enumerate(scene_ids, start=1):
        try:
            if scene_id not in done:
                scene = source.load(scene_id)
                write_prepared(prepare_scene(scene, candidates.get(scene_id), config), out)
            summaries.append(summary(done[scene_id]))
        except SceneError as error:
            if config.on_bad_scene == "refuse":
                raise
            skipped[scene_id] = error.reason
        progress(number, len(scene_ids), scene_id)
    if not summaries:
        raise DataError(f"{scenes}: no scene is usable; the first: {next(iter(skipped.values()))}")
    return Preparation(tuple(summaries), skipped)


def summary(scene: PreparedScene) -> PreparedSummary:
    """Count what a prepared scene holds."""
    return PreparedSummary(
        scene=scene.scene_id,
        frames=len(scene.frame_names),
        tokens=scene.counts.numel(),
        tokens_with_depth=int((scene.counts > 0).sum()),
        objects=len(scene.boxes),
        proposals=len(scene.proposals),
        pairs=scene_pairs(scene, level="pixel", voxel_m=scene.voxel_m).positive_pairs,
    )
