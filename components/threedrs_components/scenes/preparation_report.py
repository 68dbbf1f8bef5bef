"""What a preparation found of each scene: dropped frames and cross-checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from threedrs_components.scenes.cross_checks import Check
from threedrs_components.scenes.frames import drops_told
from threedrs_components.scenes.prepared import FOUND, PreparedScenes

REPORT = "preparation.json"
"""File of the report beside prepared scenes."""


def preparation_report(folder: Path, scene_ids: Iterable[str] | None = None) -> dict[str, Any]:
    """Of prepared scenes, all if not said which: dropped frames and checks, JSON-ready.

    `worst` holds for each check its lowest and highest value, `coverage` what the chosen frames see
    of what there was to choose from (`coverage_ends`), `warnings` a line for each scene that lost
    frames or contradicts itself and was let pass.
    """
    wanted = PreparedScenes(folder).scenes() if scene_ids is None else scene_ids
    scenes, warnings = {}, []
    values: dict[str, dict[str, float]] = {}
    for scene_id in wanted:
        found = json.loads((folder / f"{scene_id}{FOUND}").read_text())
        checks = [Check(**each) for each in found["checks"]]
        scenes[scene_id] = {**found, "checks": {each.pop("name"): each for each in found["checks"]}}
        warnings += scene_warnings(scene_id, found["dropped_frames"], checks)
        for check in checks:
            if check.value is not None:
                values.setdefault(check.name, {})[scene_id] = check.value
    return {
        "scenes": scenes,
        "dropped_frames": sum(len(each["dropped_frames"]) for each in scenes.values()),
        "worst": {name: _ends(of) for name, of in values.items()},
        "coverage": coverage_ends(scenes),
        "warnings": warnings,
    }


def coverage_ends(scenes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Share of voxels that frames see: its mean and ends over scenes that had frames to choose.

    Of the frames that were `chosen`, and of as many evenly spread ones (`uniform`); empty where no
    scene had more frames than are kept.

    Args:
        scenes: what was found by scene: number of `frames`, and `coverage` (None without depth).
    """
    found = {
        scene_id: each["coverage"]
        for scene_id, each in scenes.items()
        if each["coverage"] is not None and each["coverage"]["candidates"] > each["frames"]
    }
    shares = {
        frames: {scene_id: each[frames] for scene_id, each in found.items()}
        for frames in ("chosen", "uniform")
    }
    return {
        frames: {"mean": fmean(of.values()), **_ends(of)} for frames, of in shares.items() if of
    }


def scene_warnings(
    scene_id: str, dropped_frames: Mapping[str, str], checks: Sequence[Check]
) -> list[str]:
    """What should be known about a scene that is used all the same, a line each."""
    told = [str(check) for check in checks if check.verdict in ("warning", "refused")]
    if dropped_frames:
        told.insert(0, f"{len(dropped_frames)} frames left out: {drops_told(dropped_frames)}")
    return [f"scene {scene_id}: {each}" for each in told]


def _ends(values: dict[str, float]) -> dict[str, Any]:
    low, high = (choose(values, key=values.__getitem__) for choose in (min, max))
    return {
        "lowest": values[low],
        "lowest_scene": low,
        "highest": values[high],
        "highest_scene": high,
        "scenes": len(values),
    }
