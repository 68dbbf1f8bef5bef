"""Scoring sets of the full validation sizes: seconds, peak memory, and agreement with Java.

    python tests/bench/scoring.py [--json] [--no-java] [--scale 1.0]

The sets are generated, with the real numbers of records. Every benchmark is scored in a process of
its own, from files, with all metrics and intervals; METEOR's index is built beforehand and timed
on its own. The caption metrics are compared with pycocoevalcap (METEOR and the PTB tokenizer in
Java) on the same texts. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SIZES = {
    "scanrefer": 9508,
    "multi3drefer": 11120,
    "scan2cap": 2068,
    "scanqa": 4675,
    "sqa3d": 3519,
    "vsibench": 5130,
}
"""Queries, described objects or questions of the validation sets (SQA3D: test)."""
SCENES, OBJECTS, CANDIDATES = 141, 30, 50
THINGS = ("chair", "table", "desk", "couch", "sofa", "bed", "lamp", "door", "window", "cabinet")
COLOURS = ("brown", "black", "white", "grey", "gray", "blue", "wooden", "dark", "light", "red")
PLACES = ("left", "right", "middle", "corner", "center", "end", "front", "side", "back", "edge")
OPENINGS = (
    "this is a {c} {o}.",
    "there is a {c} {o}.",
    "the {o} is {c}.",
    "a {c} {o} in the {p} of the room.",
    "it's the {c} {o} nearest to the {o2}.",
)
TAILS = (
    "it is on the {p} of the {o2}.",
    "it is placed to the {p} of a {c2} {o2}, facing the {o3}.",
    "it has four legs and sits next to the {o2}.",
    "the {o2} is behind it and there's a {o3} beside it.",
    "it is the second one from the {p}, in front of the {c2} {o3}.",
)


def sentence(draw: random.Random) -> str:
    """A description like those of ScanRefer, about 18 words."""
    words = {
        **{key: draw.choice(THINGS) for key in ("o", "o2", "o3")},
        **{key: draw.choice(COLOURS) for key in ("c", "c2")},
        "p": draw.choice(PLACES),
    }
    return f"{draw.choice(OPENINGS)} {draw.choice(TAILS)}".format(**words)


def answer(draw: random.Random) -> str:
    """A short answer."""
    return draw.choice(
        (
            draw.choice(THINGS),
            f"{draw.choice(COLOURS)} {draw.choice(THINGS)}",
            f"to the {draw.choice(PLACES)} of the {draw.choice(THINGS)}",
            str(draw.randint(1, 9)),
        )
    )


def box(draw: random.Random) -> list[float]:
    """Centre and size in metres."""
    centre = [round(draw.uniform(-3, 3), 4) for _ in range(3)]
    return centre + [round(draw.uniform(0.3, 1.5), 4) for _ in range(3)]


def near(draw: random.Random, target: Sequence[float]) -> list[float]:
    """A box that overlaps the target by some amount."""
    return [round(value + draw.gauss(0, 0.08), 4) for value in target]


def scene(index: int) -> str:
    return f"scene{index % SCENES:04d}_00"


Files = list[Path]
"""Predictions, then annotations."""


def _write(path: Path, values: Any) -> Path:
    lines = path.suffix == ".jsonl"
    text = "\n".join(map(json.dumps, values)) if lines else json.dumps(values)
    path.write_text(text, encoding="utf-8")
    return path


def grounding_one(folder: Path, size: int, draw: random.Random) -> Files:
    rows = []
    for index in range(size):
        target, kind = box(draw), draw.choice(("unique", "multiple"))
        line: dict[str, Any] = {
            "dataset": "scanrefer",
            "sample_id": f"scanrefer_{index}",
            "question_type": kind,
        }
        rows.append({**line, "pred_response": near(draw, target), "gt_response": target})
    return [_write(folder / "scanrefer.jsonl", rows)]


def grounding_many(folder: Path, size: int, draw: random.Random) -> Files:
    rows = []
    proposals = [[box(draw) for _ in range(CANDIDATES)] for _ in range(SCENES)]
    for index in range(size):
        objects = proposals[index % SCENES]
        targets = draw.sample(objects, draw.choice((0, 1, 1, 1, 2, 4)))
        scores = [draw.gauss(0, 0.1) + 0.4 * (item in targets) for item in objects]
        kind = ("zt_w_d", "st_w_d", "mt")[min(len(targets), 2)]
        line: dict[str, Any] = {
            "dataset": "multi3drefer",
            "sample_id": str(index),
            "question_type": kind,
        }
        line |= {"objects": objects, "scores": [*scores, draw.gauss(0.1, 0.1)]}
        rows.append({**line, "gt_response": [near(draw, item) for item in targets]})
    return [_write(folder / "multi3drefer.jsonl", rows)]


def captions(folder: Path, size: int, draw: random.Random) -> Files:
    boxes = {scene(index): [box(draw) for _ in range(OBJECTS)] for index in range(SCENES)}
    records, predictions = [], []
    for index in range(size):
        name, number = scene(index), index // SCENES
        thing = {"scene_id": name, "object_id": str(number), "object_name": "thing"}
        for annotation in range(draw.choice((4, 4, 5, 5, 5))):
            text = sentence(draw)
            tokens = text.replace(".", " .").replace(",", " ,").split()
            record = {"ann_id": str(annotation), "description": text, "token": tokens}
            records.append({**thing, **record})
        line = {"id": f"scan2cap_{name}_{number}_thing", "text": sentence(draw)}
        predictions.append({**line, "boxes": [near(draw, boxes[name][number])]})
    return [
        _write(folder / "scan2cap.jsonl", predictions),
        _write(folder / "captions.json", records),
        _write(folder / "boxes.json", boxes),
    ]


def questions(folder: Path, size: int, draw: random.Random) -> Files:
    records, predictions = [], []
    for index in range(size):
        answers = [answer(draw) for _ in range(draw.choice((1, 2, 2, 3)))]
        line = {"question_id": f"val-{index}", "scene_id": scene(index), "answers": answers}
        asked = draw.choice(("Where is it?", "What color is it?", "What is it?"))
        records.append({**line, "question": asked})
        guess = answers[0] if draw.random() < 0.3 else answer(draw)
        predictions.append({"id": f"val-{index}", "text": guess})
    return [_write(folder / "scanqa.jsonl", predictions), _write(folder / "scanqa.json", records)]


def situations(folder: Path, size: int, draw: random.Random) -> Files:
    asked, answered, predictions = [], [], []
    for index in range(size):
        common = {"question_id": index, "scene_id": scene(index)}
        asked.append({**common, "question": "What is it?", "situation": sentence(draw)})
        answered.append({**common, "answers": [{"answer": answer(draw)}]})
        predictions.append({"id": str(index), "text": answer(draw)})
    both = {"questions": asked, "annotations": answered}
    return [_write(folder / "sqa3d.jsonl", predictions), _write(folder / "sqa3d.json", both)]


def spatial(folder: Path, size: int, draw: random.Random) -> Files:
    kinds = ["object_counting", "object_abs_distance", "object_rel_distance", "route_planning"]
    kinds += [f"object_rel_direction_{level}" for level in ("easy", "medium", "hard")]
    records, predictions = [], []
    for index in range(size):
        kind = kinds[index % len(kinds)]
        number = kind in kinds[:2]
        line = {"id": index, "dataset": "scannet", "scene_name": scene(index), "question": "?"}
        truth = str(draw.randint(1, 5)) if number else draw.choice("ABC")
        options = None if number else ["A. left", "B. right", "C. back"]
        records.append({**line, "question_type": kind, "options": options, "ground_truth": truth})
        guess = str(draw.randint(1, 5)) if number else draw.choice("ABC")
        predictions.append({"id": str(index), "text": guess})
    return [_write(folder / "vsibench.jsonl", predictions), _write(folder / "test.jsonl", records)]


MAKERS: dict[str, Callable[[Path, int, random.Random], Files]] = {
    "scanrefer": grounding_one,
    "multi3drefer": grounding_many,
    "scan2cap": captions,
    "scanqa": questions,
    "sqa3d": situations,
    "vsibench": spatial,
}


@dataclass(frozen=True)
class Cost:
    """What one process took, imports included."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measured(arguments: Sequence[str]) -> tuple[Cost, Any]:
    """Run this script in a child; its last line is JSON."""
    began = time.perf_counter()
    child = subprocess.run(
        [sys.executable, __file__, "--child", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wall = time.perf_counter() - began
    content = json.loads(child.stdout.splitlines()[-1])
    return Cost(wall, content["cpu_s"], content["peak_mib"]), content["result"]


def child(task: str, arguments: Sequence[str]) -> None:
    """One measured piece of work."""
    result: Any = None
    if task == "index":
        from threedrs_components.metrics.meteor.data import installed_data
        from threedrs_components.metrics.meteor.paraphrases import cache_folder, open_index

        open_index(installed_data(), cache_folder())
    elif task == "ours":
        result = our_scores(*read_texts(Path(arguments[0])))
    elif task == "java":
        result = java_scores(*read_texts(Path(arguments[0])))
    else:
        from threedrs_components.benchmarks.scoring import score

        predictions, *annotations = arguments
        score(task, predictions=predictions, annotations=annotations or None)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime + children.ru_utime + children.ru_stime
    peak = max(usage.ru_maxrss, children.ru_maxrss) / 1024
    print(json.dumps({"cpu_s": cpu, "peak_mib": peak, "result": result}), flush=True)
    os._exit(0)  # pycocoevalcap's METEOR would wait for its Java process


def read_texts(path: Path) -> tuple[list[str], list[list[str]]]:
    content = json.loads(path.read_text())
    return content["hypotheses"], content["references"]


def our_scores(hypotheses: list[str], references: list[list[str]]) -> dict[str, float]:
    """Corpus scores without Java, PTB tokens included."""
    from threedrs_components.metrics.bleu import bleu
    from threedrs_components.metrics.cider import cider
    from threedrs_components.metrics.meteor.scoring import meteor
    from threedrs_components.metrics.ptb import ptb_references, ptb_tokenize
    from threedrs_components.metrics.rouge import rouge_l

    tokens = ptb_tokenize(hypotheses)
    token_references = ptb_references(references)
    return {
        "bleu4": bleu(tokens, token_references)[3],
        "rouge_l": float(rouge_l(tokens, token_references).mean()),
        "cider": float(cider(tokens, token_references).mean()),
        "meteor": meteor(tokens, token_references),
    }


def java_scores(hypotheses: list[str], references: list[list[str]]) -> dict[str, float]:
    """The same by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    truth = tokenizer.tokenize(
        {row: [{"caption": text} for text in texts] for row, texts in enumerate(references)}
    )
    given = tokenizer.tokenize({row: [{"caption": text}] for row, text in enumerate(hypotheses)})
    return {
        "bleu4": Bleu(4).compute_score(truth, given, verbose=0)[0][3],
        "rouge_l": float(Rouge().compute_score(truth, given)[0]),
        "cider": float(Cider().compute_score(truth, given)[0]),
        "meteor": Meteor().compute_score(truth, given)[0],
    }


def text_set(files: Files, benchmark: str, path: Path) -> Path:
    """Hypotheses and references of a generated set."""
    predictions = [json.loads(line) for line in files[0].read_text().splitlines()]
    records = json.loads(files[1].read_text())
    if benchmark == "scanqa":
        references = [record["answers"] for record in records]
    else:
        grouped: dict[tuple[str, str], list[str]] = {}
        for record in records:
            key = (record["scene_id"], record["object_id"])
            grouped.setdefault(key, []).append(record["description"])
        references = list(grouped.values())
    return _write(
        path, {"hypotheses": [item["text"] for item in predictions], "references": references}
    )


def largest_difference(ours: dict[str, float], java: dict[str, float]) -> float:
    """Relative, over the metrics."""
    return max(abs(ours[name] - java[name]) / max(abs(java[name]), 1e-300) for name in java)


def compared(texts: str) -> dict[str, Any]:
    """Cost and scores of both ways on one set of texts."""
    ours, scores = measured(["ours", texts])
    java, reference = measured(["java", texts])
    return {
        "ours": asdict(ours),
        "java": asdict(java),
        "speed_up": java.wall_s / ours.wall_s,
        "scores": scores,
        "relative_difference": largest_difference(scores, reference),
    }


def run(scale: float, with_java: bool) -> dict[str, Any]:
    report: dict[str, Any] = {"index": {}, "scoring": {}, "captions": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["THREEDRS_CACHE"] = str(folder / "cache")
        for attempt in ("first", "second"):
            report["index"][attempt] = asdict(measured(["index"])[0])
        made = {}
        for benchmark, maker in MAKERS.items():
            count = max(1, int(SIZES[benchmark] * scale))
            made[benchmark] = files = maker(folder, count, random.Random(0))
            cost, _ = measured([benchmark, *map(str, files)])
            report["scoring"][benchmark] = {"records": count, **asdict(cost)}
        for benchmark in ("scan2cap", "scanqa") if with_java else ():
            texts = str(text_set(made[benchmark], benchmark, folder / "texts.json"))
            report["captions"][benchmark] = compared(texts)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-java", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--child", nargs="+")
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1:])
    report = run(args.scale, not args.no_java and shutil.which("java") is not None)
    print(json.dumps(report, indent=1) if args.json else as_text(report))


def as_text(report: dict[str, Any]) -> str:
    lines = [
        f"METEOR index, {attempt} opening: {cost['wall_s']:.1f} s, {cost['peak_mib']:.0f} MiB"
        for attempt, cost in report["index"].items()
    ]
    for name, row in report["scoring"].items():
        lines.append(
            f"{name:13} {row['records']:6} records  {row['wall_s']:6.1f} s wall  "
            f"{row['cpu_s']:6.1f} s CPU  {row['peak_mib']:5.0f} MiB"
        )
    for name, row in report["captions"].items():
        ours, java = row["ours"], row["java"]
        lines.append(
            f"{name}: {ours['wall_s']:.1f} s against {java['wall_s']:.1f} s with Java "
            f"({row['speed_up']:.1f} times), CPU {ours['cpu_s']:.1f} against "
            f"{java['cpu_s']:.1f} s, largest relative difference {row['relative_difference']:.1e}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
