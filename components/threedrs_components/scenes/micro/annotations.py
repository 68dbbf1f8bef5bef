"""Annotations of micro scenes in the key layout of the real benchmark files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from threedrs_components.scenes.micro.language import (
    Description,
    Question,
    captions,
    groundings,
    multiple,
    questions,
)
from threedrs_components.scenes.micro.rooms import Layout, scene_generator

LANGUAGE_PURPOSE = 1
"""Random numbers of the language, apart from those of the layout."""

FILES = {
    "scanrefer": "ScanRefer_filtered_{split}.json",
    "scan2cap": "Scan2Cap_{split}.json",
    "multi3drefer": "multi3drefer_{split}.json",
    "scanqa": "ScanQA_v1.0_{split}.json",
}

Records = dict[str, list[dict[str, Any]]]
"""Annotation records per benchmark."""


def annotate(seed: int, split: str, index: int, scene_id: str, layout: Layout) -> Records:
    """All records of one scene; each also says its "task", which the real files do not have."""
    rng = scene_generator(seed, split, index, LANGUAGE_PURPOSE)
    return {
        "scanrefer": _single(scene_id, layout, groundings(layout, rng)),
        "scan2cap": _single(scene_id, layout, captions(layout)),
        "multi3drefer": [
            {
                "scene_id": scene_id,
                "object_ids": list(item.object_ids),
                "ann_id": number,
                "description": item.text,
                "eval_type": item.task,
                "task": f"m_{item.task}",
            }
            for number, item in enumerate(multiple(layout, rng))
        ],
        "scanqa": [
            _question(f"{split}-{scene_id}-{number}", scene_id, layout, item)
            for number, item in enumerate(questions(layout, rng))
        ],
    }


def write_annotations(folder: Path, split: str, scenes: list[Records]) -> dict[str, int]:
    """Write one file per benchmark for a split; returns the number of records per task."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks: Counter[str] = Counter()
    for benchmark, name in FILES.items():
        records = [record for scene in scenes for record in scene[benchmark]]
        tasks.update(record["task"] for record in records)
        (folder / name.format(split=split)).write_text(json.dumps(records, indent=0) + "\n")
    return dict(sorted(tasks.items()))


def _single(scene_id: str, layout: Layout, items: list[Description]) -> list[dict[str, Any]]:
    """Records as in ScanRefer: ids are text, ann_id counts the descriptions of an object."""
    seen: Counter[int] = Counter()
    records = []
    for item in items:
        (object_id,) = item.object_ids
        records.append(
            {
                "scene_id": scene_id,
                "object_id": str(object_id),
                "object_name": layout.pieces[object_id].category,
                "ann_id": str(seen[object_id]),
                "description": item.text,
                "token": item.text.split(),
                "task": item.task,
            }
        )
        seen[object_id] += 1
    return records


def _question(question_id: str, scene_id: str, layout: Layout, item: Question) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "scene_id": scene_id,
        "question": item.text,
        "answers": list(item.answers),
        "object_ids": list(item.object_ids),
        "object_names": [layout.pieces[index].category for index in item.object_ids],
        "task": item.task,
    }
