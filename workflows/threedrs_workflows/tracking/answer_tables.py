"""Questions and answers of a trained student as tables for people, a few of them with pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.scenes.frames import uniform_choice
from threedrs_components.scenes.picture import draw_boxes
from threedrs_components.scenes.source import SceneSource
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Boxes, Prediction, Sample
from threedrs_platform.tracking.evidence import Table

MOST_ROWS = 200
"""Rows of a table, spread evenly over a benchmark's samples."""
PICTURED = 3
"""Rows with a picture, spread likewise."""
FRAMES = 3
PICTURE_WIDTH = 480


def answer_tables(
    scenes: SceneSource, samples: Path, predictions: Path, scores: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, Table]]:
    """One table per benchmark, and one of a few of its rows with pictures.

    Args:
        scenes: the scenes that the questions are about.
        samples: artifact with `evaluation.jsonl`.
        predictions: artifact with JSON Lines of predictions.
        scores: metric ("scanqa/em@1") -> sample id -> score.
    """
    asked: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(samples / "evaluation.jsonl"):
        asked[sample.benchmark].append(sample)
    answers = {
        each.sample_id: each
        for path in sorted(predictions.glob("*.jsonl"))
        for each in read_predictions(path)
    }
    for benchmark, rows in sorted(asked.items()):
        own = {name: found for name, found in scores.items() if name.startswith(f"{benchmark}/")}
        chosen = _spread(rows, MOST_ROWS)
        yield f"evaluation/{benchmark}.json", _table(chosen, answers, own)
        pictured = [
            (sample, picture)
            for sample in _spread(rows, PICTURED)
            if (picture := _picture(sample, answers.get(sample.sample_id), scenes)) is not None
        ]
        if pictured:
            table = _table([sample for sample, _ in pictured], answers, own)
            yield (
                f"evaluation/{benchmark}_seen.json",
                {"picture": [picture for _, picture in pictured], **table},
            )


def _table(
    rows: Sequence[Sample],
    answers: Mapping[str, Prediction],
    scores: Mapping[str, Mapping[str, float]],
) -> dict[str, list[Any]]:
    return {
        "sample": [sample.sample_id for sample in rows],
        "scene": [sample.scene_id for sample in rows],
        "type": [sample.question_type for sample in rows],
        "question": [sample.prompt for sample in rows],
        "answer": [_answer(answers.get(sample.sample_id)) for sample in rows],
        "reference": [_reference(sample) for sample in rows],
        **{
            name: [found.get(sample.sample_id) for sample in rows] for name, found in scores.items()
        },
    }


def _answer(prediction: Prediction | None) -> str:
    if prediction is None:
        return "(none)"
    box = chosen_box(prediction)
    if prediction.text is not None:
        return prediction.text
    return _box_text(box) if box is not None else "no object"


def chosen_box(prediction: Prediction) -> tuple[float, ...] | None:
    """The candidate with the best score; None when "no object" is best, or none was asked for."""
    if not prediction.scores or not prediction.boxes:
        return prediction.boxes[0] if prediction.boxes else None
    best = int(np.argmax(prediction.scores))
    return prediction.boxes[best] if best < len(prediction.boxes) else None


def _reference(sample: Sample) -> str:
    if sample.kind == "text":
        return " | ".join(sample.answers)
    return "; ".join(map(_box_text, sample.target_boxes)) or "no object"


def _box_text(box: Sequence[float]) -> str:
    centre, size = (", ".join(f"{value:.2f}" for value in part) for part in (box[:3], box[3:]))
    return f"box at ({centre}) of size ({size})"


def _picture(sample: Sample, prediction: Prediction | None, source: SceneSource) -> Any:
    """Frames with the true boxes and the chosen one; None for a scene that cannot be read."""
    try:
        scene = source.load(sample.scene_id)
    except SceneError:
        return None
    chosen = None if prediction is None else chosen_box(prediction)
    named = [(box, "truth") for box in sample.target_boxes]
    named += [(chosen, "answer")] if chosen is not None and sample.kind == "ground" else []
    boxes = np.array([box for box, _ in named], np.float32).reshape(-1, 6)
    objects = Boxes(tuple(range(len(named))), tuple(label for _, label in named), boxes)
    frames = uniform_choice(len(scene.frame_names), FRAMES).tolist()
    return draw_boxes(replace(scene, objects=objects), frames, width=PICTURE_WIDTH)


def _spread(rows: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many rows, evenly spaced, in order."""
    if len(rows) <= most:
        return list(rows)
    return [rows[index * len(rows) // most] for index in range(most)]
