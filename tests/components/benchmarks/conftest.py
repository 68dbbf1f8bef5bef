"""A tiny annotated world: two scenes, a few objects, files in the real formats."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks import scoring
from threedrs_platform.errors import DataError

BOXES = {
    "s0": [[0, 0, 0, 1, 1, 1], [2, 0, 0, 1, 1, 1], [4, 0, 0, 1, 1, 1]],
    "s1": [[0, 0, 0, 1, 1, 1]],
}


def describe(scene: str, number: int, name: str, annotation: int, text: str) -> dict[str, Any]:
    return {
        "scene_id": scene,
        "object_id": str(number),
        "object_name": name,
        "ann_id": str(annotation),
        "description": text,
        "token": text.lower().replace(".", " .").split(),
    }


DESCRIPTIONS = [
    describe("s0", 0, "lamp", 0, "The red lamp."),
    describe("s0", 0, "lamp", 1, "a lamp on the left"),
    describe("s0", 1, "chair", 0, "a brown chair"),
    describe("s0", 2, "chair", 0, "the chair by the door"),
    describe("s1", 0, "lamp", 0, "it is a lamp"),
]
QUERIES = [
    {
        "scene_id": "s0",
        "object_ids": [0],
        "ann_id": 0,
        "description": "lamp",
        "eval_type": "st_wo_d",
    },
    {
        "scene_id": "s0",
        "object_ids": [1, 2],
        "ann_id": 1,
        "description": "chairs",
        "eval_type": "mt",
    },
    {"scene_id": "s0", "object_ids": [], "ann_id": 2, "description": "bed", "eval_type": "zt_wo_d"},
]
QUESTIONS = [
    {
        "question_id": "val-s0-0",
        "scene_id": "s0",
        "question": "Where is the lamp?",
        "answers": ["on the left", "left"],
        "object_ids": [0],
    },
    {
        "question_id": "val-s0-1",
        "scene_id": "s0",
        "question": "What color is the chair?",
        "answers": ["brown"],
    },
]
SITUATED = {
    "questions": [
        {
            "question_id": 1,
            "scene_id": "s0",
            "situation": "I am sitting.",
            "alternative_situation": ["I sit.", "Sitting I am."],
            "question": "What is behind me?",
        },
        {"question_id": 2, "scene_id": "s1", "situation": "I stand.", "question": "Is it dark?"},
    ],
    "annotations": [
        {"question_id": 2, "scene_id": "s1", "answers": [{"answer": "no"}]},
        {"question_id": 1, "scene_id": "s0", "answers": [{"answer": "the chair"}]},
    ],
}
SPATIAL = [
    {
        "id": 0,
        "dataset": "scannet",
        "scene_name": "s0",
        "question_type": "object_counting",
        "question": "How many chairs?",
        "options": None,
        "ground_truth": "4",
    },
    {
        "id": 1,
        "dataset": "scannet",
        "scene_name": "s0",
        "question_type": "route_planning",
        "question": "Where to?",
        "options": ["A. left", "B. right"],
        "ground_truth": "B",
    },
]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder in the layout benchmarks read."""
    write = JsonWriter(tmp_path)
    for split in ("train", "val"):
        write(f"annotations/ScanRefer_filtered_{split}.json", DESCRIPTIONS)
        write(f"annotations/multi3drefer_{split}.json", QUERIES)
        write(f"annotations/ScanQA_v1.0_{split}.json", QUESTIONS)
        write(
            f"annotations/v1_balanced_questions_{split}_scannetv2.json",
            {"questions": SITUATED["questions"]},
        )
        write(
            f"annotations/v1_balanced_sqa_annotations_{split}_scannetv2.json",
            {"annotations": SITUATED["annotations"]},
        )
        lines = "\n".join(map(json.dumps, SPATIAL))
        (tmp_path / "annotations" / f"vsibench_{split}.jsonl").write_text(lines)
    for scene, boxes in BOXES.items():
        ids = list(range(len(boxes)))
        labels = ["thing"] * len(boxes)
        write(f"scenes/{scene}/boxes.json", {"object_ids": ids, "labels": labels, "boxes": boxes})
    write(
        "proposals/val.json",
        {"scannet/s0": [[0, 0, 0.2, 1, 1, 1], [2, 0, 0.9, 1, 1, 1]], "scannet/s1": []},
    )
    return tmp_path


class JsonWriter:
    """Writes values under a root and returns the path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, values: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.suffix == ".jsonl"
        path.write_text("\n".join(map(json.dumps, values)) if lines else json.dumps(values))
        return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    return JsonWriter(tmp_path)


@pytest.fixture(scope="session")
def sqa3d_slice() -> Path:
    default = Path(__file__).parents[3] / ".." / "shared"
    folder = Path(os.environ.get("THREEDRS_SHARED", default)) / "data" / "sqa3d_slice"
    path = folder / "sqa3d_test_slice.json"
    if not path.is_file():
        pytest.skip(f"the real slice is not here ({path.resolve()}); set THREEDRS_SHARED")
    return path


@pytest.fixture
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were not there: indexing the paraphrase table would take longer than all
    these tests."""

    def missing() -> None:
        raise DataError("pycocoevalcap is not installed")

    monkeypatch.setattr(scoring, "installed_data", missing)
