"""What a preparation found of each scene: dropped frames and cross-checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from threedrs_components.scenes.cross_checks import Check
from threedrs_components.scenes.frames import drops_told
from threedrs_components.scenes.prepared import FOUND, PreparedScenes

REPORT = "preparation.json"
"""File of the report beside prepared scenes."""


def preparation_report(folder: Path, scene_ids: Iterable[str] | None = None) -> dict[str, Any]:
    """Of prepared scenes, all if not said which: dropped frames and checks, JSON-ready.

    `worst` holds for each check its lowest and highest value, `warnings` a line for each scene that
    lost frames or contradicts itself and was let pass.
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
        "warnings": warnings,
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
