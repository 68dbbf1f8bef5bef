"""Annotations and predictions of every benchmark, spoiled by value and by byte.

Readers may refuse what they are given, by a message of ours, or score it; nothing else.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scoring import score
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.errors import ThreedrsError

UNIT = [0, 0, 0, 1, 1, 1]
CORNERS = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
LABELS = "raw_category\tnyu40id\tnyu40class\nlamp\t35\tlamp\nchair\t5\tchair\n"


def _line(dataset: str, **more: Any) -> list[Any]:
    return [{"dataset": dataset, "sample_id": "a", "question_type": "x", **more}]


def _texts(name: str, text: str) -> list[Any]:
    """The same answer in every form that texts come in."""
    logged = {"doc_id": 0, "doc": {"id": name}, "filtered_resps": [text], "resps": [[text]]}
    return [
        [{"id": name, "text": text}],
        [logged],
        [{"image_id": name, "caption": text}],
        {name: text},
    ]


def _exported(kind: str, text: str) -> list[Any]:
    """A log of lmms-eval over a task that we exported."""
    ground = kind == "scanrefer"
    sample = {
        "sample_id": "scanrefer_s0_0_0" if ground else "scanqa_val-s0-0",
        "benchmark": kind,
        "scene_id": "s0",
        "kind": "ground" if ground else "text",
        "prompt": "?",
        "answers": [] if ground else ["left"],
        "target_boxes": [UNIT] if ground else [],
    }
    item = {"benchmark": kind, "sample": json.dumps(sample), "one_box": ground}
    return [{"doc_id": 0, "filtered_resps": text, "em@1": item}]


PREDICTIONS: dict[str, list[Any]] = {
    "scanrefer": [
        [{"id": "scanrefer_s0_0_0", "boxes": [UNIT], "scores": [0.1, 0.2]}],
        _line("scanrefer", pred_response=UNIT, gt_response=UNIT),
        [{"scene_id": "s0", "object_id": 0, "ann_id": 0, "bbox": CORNERS, "others": 0}] * 2,
        {"s0": [{"ann_id": 0, "object_id": 0, "aabb": [CORNERS]}]},
        _exported("scanrefer", "[0, 0, 0, 1, 1, 1]"),
    ],
    "multi3drefer": [
        [{"id": "multi3drefer_s0_0", "boxes": [UNIT]}],
        _line("multi3drefer", objects=[UNIT], scores=[0.1, 0.2], gt_response=[UNIT]),
        {"s0": [{"ann_id": 0, "aabb": [CORNERS]}]},
    ],
    "scan2cap": [
        [{"id": "scan2cap_s0_0_lamp", "text": "x", "boxes": [UNIT]}],
        _line("scan2cap", pred_response="x", gt_response=["y"]),
        {"s0": [{"caption": "x", "box": CORNERS}]},
        *_texts("s0|0|lamp", "a red lamp"),
    ],
    "scanqa": [
        _line("scanqa", pred_response="x", gt_response="y") * 2,
        [{"question_id": "val-s0-0", "answer_top10": ["a"]}],
        *_texts("val-s0-0", "left"),
        _exported("scanqa", "left"),
    ],
    "sqa3d": [_line("sqa3d", pred_response="x", gt_response="y"), *_texts("1", "chair")],
    "vsibench": _texts("0", "3"),
    "mindcube": _texts("among_group0_q0_1_0", "B"),
    "viewspatial": _texts("0", "B. right"),
    "embspatial": _texts("mp3d_0", "C"),
    "blink": _texts("val_Relative_Depth_1", "(B)"),
    "mmsi": _texts("0", "``D``"),
}
"""Every format that each benchmark knows."""
_OWN_FILES = {
    "scanrefer": "ScanRefer_filtered_val.json",
    "multi3drefer": "multi3drefer_val.json",
    "scan2cap": "ScanRefer_filtered_val.json",
    "scanqa": "ScanQA_v1.0_val.json",
}
_CONVERSATION = {
    "id": "a",
    "video": "scannet/s0",
    "conversations": [{"from": "human", "value": "<image>x"}, {"from": "gpt", "value": "left"}],
}
_PROCESSED: dict[str, Any] = {
    "scanrefer": {"box": UNIT, "metadata": {"dataset": "scanrefer", "ann_id": 0, "object_id": 0}},
    "multi3drefer": {"box": [UNIT], "metadata": {"dataset": "multi3drefer", "object_id": [0]}},
    "scan2cap": {"gt_box": UNIT, "annotations": ["x"], "metadata": {"dataset": "scan2cap"}},
    "scanqa": {"metadata": {"dataset": "scanQA", "answers": ["left"]}},
    "sqa3d": {"metadata": {"dataset": "sqa3d", "question_type": "what"}},
}
_JUNK: list[Any] = [
    *(None, True, "", [], {}, -1, 1e308, float("nan"), "x", [[]], [None], {"a": 1}, 10**400),
    *(0.0, "0.0", "\ud83d", "\x00", -0.5, "a|b|c", [UNIT], {"0": UNIT}, "scannet/s0", 2**63),
]
_BYTES = (
    b"\x00",
    b"\xff",
    b"{",
    b"]",
    b",",
    b"\\ud83d",
    b"NaN",
    b'"',
    b"\xef\xbb\xbf",
    b"-",
    b"9" * 5000,
)


def spoiled_value(values: Any, draw: random.Random) -> Any:
    """The same with one thing somewhere inside replaced, deleted or repeated."""
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
        return draw.choice(_JUNK)
    if draw.random() < 0.6:
        parent[key] = draw.choice(_JUNK)
    elif isinstance(parent, list) and draw.random() < 0.5:
        parent.append(copy.deepcopy(node))
    else:
        del parent[key]
    return values


def spoiled_bytes(content: bytes, draw: random.Random) -> bytes:
    """The same cut off, with bytes changed, put in or taken out, or in another encoding."""
    place = draw.randrange(len(content) + 1)
    end = min(len(content), place + draw.randint(1, 8))
    how = draw.randrange(6)
    if how == 0:
        return content[:place]
    if how == 1:
        return content[:place] + draw.choice(_BYTES) + content[end:]
    if how == 2:
        return content[:place] + draw.choice(_BYTES) + content[place:]
    if how == 3:
        return content[:place] + content[end:]
    if how == 4:
        flipped = bytes(byte ^ (1 << draw.randrange(8)) for byte in content[place:end])
        return content[:place] + flipped + content[end:]
    return content.decode("latin-1").encode(draw.choice(("utf-16", "utf-16-le", "utf-32")))


class SpoiledFiles:
    """Good files of every benchmark in a working folder, of which each attempt spoils one."""

    def __init__(self, fixtures: Path, work: Path) -> None:
        self._work = work
        for kind in PREDICTIONS:
            shutil.copytree(fixtures / kind, work / kind)
            extra = work / kind / "extra"
            extra.mkdir()
            (extra / "labels.tsv").write_text(LABELS)
            boxes = {"s0": [UNIT] * 3, "scannet/s1": {"0": UNIT}}
            (extra / "boxes.json").write_text(json.dumps(boxes))
            if kind in _PROCESSED:
                records = [{**_CONVERSATION, **_PROCESSED[kind]}] * (2 if kind == "sqa3d" else 1)
                (extra / "processed.json").write_text(json.dumps(records))
        rows = (work / "vsibench/annotations/vsibench_val.jsonl").read_text().splitlines()
        _write_table(work / "vsibench/extra/val.parquet", [json.loads(row) for row in rows])

    def attempt(self, kind: str, draw: random.Random) -> ThreedrsError | None:
        """Spoil one file, score and read; the refusal, or None where the files were usable."""
        folder = self._work / kind
        predictions = self._write_predictions(kind, draw)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        target = predictions if draw.random() < 0.4 else draw.choice(files)
        with _spoiled(target, draw) if draw.random() < 0.7 else nullcontext():
            try:
                self._use(kind, predictions, draw)
            except ThreedrsError as error:
                str(error).encode("utf-8")
                return error
        return None

    def _write_predictions(self, kind: str, draw: random.Random) -> Path:
        for path in (self._work / kind).glob("predictions.*"):
            path.unlink()
        values = draw.choice(PREDICTIONS[kind])
        if draw.random() < 0.3:
            values = spoiled_value(values, draw)
        path = self._work / kind / "predictions.json"
        if isinstance(values, list) and draw.random() < 0.3:
            path = path.with_suffix(draw.choice((".jsonl", ".parquet")))
        if path.suffix == ".parquet" and _write_table(path, values):
            return path
        lines = "\n".join(map(json.dumps, values)) if path.suffix == ".jsonl" else ""
        path = path if lines else path.with_suffix(".json")
        path.write_text(lines or json.dumps(values))
        return path

    def _use(self, kind: str, predictions: Path, draw: random.Random) -> None:
        folder, extra = self._work / kind, self._work / kind / "extra"
        carry_truth = b'"dataset"' in predictions.read_bytes()
        sources: list[list[Path] | None] = [None if carry_truth else [folder], [folder]]
        if kind in _PROCESSED:
            sources.append([extra / "processed.json"])
        if kind in _OWN_FILES:
            own = folder / "annotations" / _OWN_FILES[kind]
            boxes = [extra / "boxes.json"] if BENCHMARKS[kind]().about_boxes else []
            sources += [[own, *boxes]] * 2
        if kind == "vsibench":
            sources += [[extra / "val.parquet"]] * 2
        chosen = draw.choice(sources)
        labelled = BENCHMARKS[kind].uses_label_map and chosen is not None and draw.random() < 0.5
        evaluation = score(
            kind,
            predictions=predictions,
            annotations=chosen,
            protocol=draw.choice(list(BENCHMARKS[kind].protocols)),
            label_map=extra / "labels.tsv" if labelled else None,
        )
        json.dumps(evaluation.as_json(), allow_nan=False)
        train = AnnotationFolder(folder, box_file=extra / "boxes.json" if labelled else None)
        BENCHMARKS[kind].loader().samples(train, Wording(), draw.choice(("train", "val")))


def _write_table(path: Path, rows: Any) -> bool:
    """Write rows as a table, if they make one."""
    import pyarrow
    from pyarrow import parquet

    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    except (pyarrow.ArrowException, AttributeError, TypeError, ValueError, OverflowError):
        path.unlink(missing_ok=True)
        return False
    return True


@contextmanager
def _spoiled(path: Path, draw: random.Random) -> Iterator[None]:
    """The file with something wrong in it; as it was afterwards."""
    content = path.read_bytes()
    spoiled = spoiled_bytes(content, draw)
    if path.suffix == ".json" and draw.random() < 0.7:
        spoiled = json.dumps(spoiled_value(json.loads(content), draw)).encode()
    path.write_bytes(spoiled)
    try:
        yield
    finally:
        path.write_bytes(content)
