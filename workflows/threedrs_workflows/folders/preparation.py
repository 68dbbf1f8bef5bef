"""Prepare folders of scenes for a student: the work behind `workflows prepare`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.preparation_report import REPORT, preparation_report
from threedrs_components.scenes.prepared import (
    PrepareConfig,
    PreparedScene,
    PreparedScenes,
    prepare_scene,
    prepared_files,
    scene_pairs,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import DataError, SceneError, StorageError
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.records import Float32
from threedrs_platform.sealed import drop_contradicted


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
    remade: tuple[str, ...]
    """Scenes that `out` held, made of other files or with other settings"""
    checks: dict[str, Any]
    """Lowest and highest value of each cross-check"""
    coverage: dict[str, Any]
    """Share of voxels that the chosen frames see, and that as many evenly spread ones do"""
    warnings: tuple[str, ...]


def prepare_folder(
    source: RGBDFolder,
    out: Path,
    config: PrepareConfig,
    proposals: Path | None,
    progress: Callable[[int, int, str], None],
) -> Preparation:
    """Prepare every scene under a folder, and write what was found of them beside.

    Scenes that `out` holds already are kept if their key says that the same would come out.

    Raises:
        DataError: a scene is unusable and bad scenes are refused, or no scene is usable.
        StorageError: `out` is no folder and cannot be made one.
    """
    candidates = read_candidates(proposals) if proposals else {}
    scene_ids = source.scenes("all")
    if proposals and not candidates.keys() & set(scene_ids):
        raise DataError(
            f"{proposals}: holds boxes of none of the scenes; of {', '.join([*candidates][:3])}"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot hold prepared scenes: {error.strerror}") from error
    code = CodeIndex().digest(f"{prepare_scene.__module__}:{prepare_scene.__name__}").modules
    done, summaries = PreparedScenes(out), []
    skipped: dict[str, str] = {}
    remade: list[str] = []
    damaged: list[str] = []
    for number, scene_id in enumerate(scene_ids, start=1):
        try:
            own = candidates.get(scene_id)
            key = _key(code, source.stamp(scene_id), config, own)
            was_there = scene_id in done
            for path in prepared_files(out, scene_id):
                drop_contradicted(path, damaged.append)
            if scene_id not in done or _kept_key(done, scene_id) != key:
                remade += [scene_id] if was_there else []
                prepared = prepare_scene(source.load(scene_id), own, config)
                write_prepared(replace(prepared, key=key), out)
            summaries.append(summary(done[scene_id]))
        except SceneError as error:
            if config.on_bad_scene == "refuse":
                raise
            skipped[scene_id] = error.reason
        progress(number, len(scene_ids), scene_id)
    if not summaries:
        first = next(iter(skipped.values()))
        raise DataError(f"{source.root}: no scene is usable; the first: {first}")
    report = preparation_report(out, [each.scene for each in summaries]) | {"skipped": skipped}
    (out / REPORT).write_text(json.dumps(report, indent=1))
    warnings = (*damaged, *report["warnings"])
    return Preparation(
        tuple(summaries), skipped, tuple(remade), report["worst"], report["coverage"], warnings
    )


def _key(code: str, stamp: str, config: PrepareConfig, proposals: Float32 | None) -> str:
    """Of all that a prepared scene is made from and by, but not of what happens to others."""
    settings = config.model_dump(mode="json", exclude={"on_bad_scene"})
    boxes = None if proposals is None else proposals.tolist()
    content = json.dumps([code, stamp, settings, boxes], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _kept_key(done: PreparedScenes, scene_id: str) -> str | None:
    """None if the file cannot be read."""
    try:
        return done[scene_id].key
    except SceneError:
        return None


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
