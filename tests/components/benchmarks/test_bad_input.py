"""Spoiled files of every kind end in a message of ours, never in another exception."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scoring import score
from threedrs_platform.errors import ThreedrsError

Writer = Callable[[str, Any], Path]
UNIT = [0, 0, 0, 1, 1, 1]
CORNERS = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]


def line(dataset: str, **more: Any) -> list[Any]:
    return [{"dataset": dataset, "sample_id": "a", "question_type": "x", **more}]


PREDICTIONS: dict[str, list[Any]] = {
    "scanrefer": [
        [{"id": "scanrefer_s0_0_0", "boxes": [UNIT], "scores": [0.1, 0.2]}],
        line("scanrefer", pred_response=UNIT, gt_response=UNIT),
        [{"scene_id": "s0", "object_id": 0, "ann_id": 0, "bbox": CORNERS, "others": 0}],
        {"s0": [{"ann_id": 0, "object_id": 0, "aabb": [CORNERS]}]},
    ],
    "multi3drefer": [
        [{"id": "multi3drefer_s0_0", "boxes": [UNIT]}],
        line("multi3drefer", objects=[UNIT], scores=[0.1, 0.2], gt_response=[UNIT]),
        {"s0": [{"ann_id": 0, "aabb": [CORNERS]}]},
    ],
    "scan2cap": [
        [{"id": "scan2cap_s0_0_lamp", "text": "x", "boxes": [UNIT]}],
        line("scan2cap", pred_response="x", gt_response=["y"]),
        {"s0": [{"caption": "x", "box": CORNERS}]},
    ],
    "scanqa": [
        [{"id": "val-s0-0", "text": "x"}],
        line("scanqa", pred_response="x", gt_response="y"),
        [{"question_id": "val-s0-0", "answer_top10": ["a"]}],
    ],
    "sqa3d": [[{"id": "1", "text": "x"}], line("sqa3d", pred_response="x", gt_response="y")],
    "vsibench": [[{"id": "0", "text": "3"}]],
}
ANNOTATIONS = {
    "scanrefer": "ScanRefer_filtered_val.json",
    "multi3drefer": "multi3drefer_val.json",
    "scan2cap": "ScanRefer_filtered_val.json",
    "scanqa": "ScanQA_v1.0_val.json",
}
JUNK: list[Any] = [
    None,
    True,
    "",
    [],
    {},
    -1,
    1e308,
    float("nan"),
    "x",
    [[]],
    [None],
    {"a": 1},
    10**400,
]


def spoil(values: Any, draw: random.Random) -> Any:
    """Replace, delete or repeat one thing somewhere inside."""
    values = copy.deepcopy(values)
    parent, key, node = None, None, values
    for _ in range(draw.randint(1, 5)):
        if isinstance(node, dict) and node:
            key = draw.choice(list(node))
        elif isinstance(node, list) and node:
            key = draw.randrange(len(node))
        else:
            break
        parent, node = node, node[key]
    if parent is None:
        return draw.choice(JUNK)
    if draw.random() < 0.6:
        parent[key] = draw.choice(JUNK)
    elif isinstance(parent, list) and draw.random() < 0.5:
        parent.append(copy.deepcopy(node))
    else:
        del parent[key]
    return values


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("benchmark", sorted(PREDICTIONS))
def test_spoiled_files_are_refused_or_scored(benchmark: str, world: Path, write: Writer) -> None:
    draw, refused = random.Random(0), 0
    files: list[Path] = [world]
    if benchmark in ANNOTATIONS:
        files = [world / "annotations" / ANNOTATIONS[benchmark]]
        files += [write("boxes.json", {"s0": [UNIT] * 3, "s1": [UNIT]})]
    for attempt in range(40):
        predictions = spoil(draw.choice(PREDICTIONS[benchmark]), draw)
        annotations = list(files)
        if attempt % 2 and benchmark in ANNOTATIONS:
            place = draw.randrange(2)
            content = json.loads(files[place].read_text())
            annotations[place] = write(f"spoiled{place}.json", spoil(content, draw))
        try:
            found = score(
                benchmark,
                predictions=write("predictions.json", predictions),
                annotations=annotations,
                protocol=draw.choice(list(BENCHMARKS[benchmark].protocols)),
            )
            json.dumps(found.as_json(), allow_nan=False)
        except ThreedrsError as error:
            refused += 1
            assert str(error)
    assert refused > 10
