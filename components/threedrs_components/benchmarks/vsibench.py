"""VSI-Bench: spatial questions about a video. Accuracy of choices, relative accuracy of numbers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    parse_records,
    refuse_repeats,
)
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Evaluation, Tally, pair_predictions
from threedrs_components.metrics.relative_accuracy import (
    as_number,
    first_word,
    mean_relative_accuracy,
    number_in_text,
)
from threedrs_components.metrics.uncertainty import percentile_interval, resampled_sums
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

NAME = "vsibench"
PROTOCOLS = {
    "official": "thinking-in-space: letter or number before the first space",
    "lmms_eval": "newer lmms-eval: a number anywhere in the text, also in words; six digits",
}
NUMERIC = {
    "object_counting": "object_counting",
    "object_abs_distance": "abs_distance",
    "object_size_estimation": "object_size",
    "room_size_estimation": "room_size",
}
DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
CHOICE = {
    "object_rel_distance": "rel_distance",
    **dict.fromkeys(DIRECTIONS, "rel_direction"),
    "route_planning": "route_planning",
    "obj_appearance_order": "appearance_order",
}
_TASK_OF = {**NUMERIC, **CHOICE}
TASKS = tuple(dict.fromkeys(_TASK_OF.values()))
"""The eight tasks in the order the paper prints them."""

QuestionType = Literal[
    "object_counting",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "route_planning",
    "obj_appearance_order",
]


class Question(Record):
    """One record."""

    id: Identifier | None = None
    dataset: str
    scene_name: Identifier
    question_type: QuestionType
    question: str
    options: list[str] | None = None
    ground_truth: Identifier | Annotated[float, Field(strict=True)]

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        truth, letters = str(self.ground_truth), ascii_uppercase[: len(self.options or ())]
        if self.question_type in NUMERIC:
            if not 0 <= as_number(truth) < math.inf:
                raise ValueError("ground_truth must be a number, 0 or more")
        elif not self.options:
            raise ValueError(f"options are needed for {self.question_type}")
        elif truth.upper() not in tuple(letters):
            raise ValueError(f"ground_truth {truth!r} is none of the options' letters {letters}")
        return self


def read_vsibench(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per question; ids are the file's, else positions."""
    [(path, values)] = parsed
    records = parse_records(values, Question, path)
    ids = [record.id or str(index) for index, record in enumerate(records)]
    refuse_repeats(ids, path)
    return [
        Sample(
            sample_id=f"{NAME}_{name}",
            benchmark=NAME,
            scene_id=record.scene_name,
            kind="text",
            prompt=_prompt(record, prompts, split),
            answers=(str(record.ground_truth),),
            question_type=record.question_type,
            tags={
                "alias": name,
                "dataset": record.dataset,
                "options": str(len(record.options or ())),
            },
        )
        for name, record in zip(ids, records, strict=True)
    ]


def _prompt(record: Question, prompts: PromptConfig, split: str) -> str:
    """Frames only: these questions are asked without 3D coordinates."""
    if record.question_type in NUMERIC:
        return prompts.render("vsibench_number", split, question=record.question)
    options = "\n".join(record.options or ())
    return prompts.render("vsibench_choice", split, question=record.question, options=options)


def answer_value(text: str, sample: Sample, protocol: str) -> float:
    """Score of one answer in [0, 1]."""
    truth = sample.answers[0]
    if sample.question_type not in NUMERIC:
        return float(first_word(text).lower() == truth.lower())
    number = as_number(first_word(text)) if protocol == "official" else number_in_text(text)
    return mean_relative_accuracy(number, as_number(truth))


def evaluate_vsibench(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str] = (),
) -> Evaluation:
    """The mean of each task, and the average of the tasks; a missing prediction scores 0.

    Relative direction is the mean of its three levels, not of its questions.
    """
    paired = pair_predictions(samples, predictions)
    answered = _Answered(samples, _values(samples, paired, protocol))
    if protocol == "lmms_eval":
        answered.need_all_directions()
    digits = 6 if protocol == "lmms_eval" else None
    tally = Tally(NAME, protocol, samples)
    tally.scores = [
        SampleScore(f"{NAME}/average", sample.sample_id, sample.scene_id, 100 * value)
        for sample, value in zip(samples, answered.values.tolist(), strict=True)
    ]
    for task, kinds in answered.tasks.items():
        tally.per_type[task] = {"average": answered.metric(f"/{task}", [kinds], digits)}
        for kind in kinds if len(kinds) > 1 else ():
            tally.per_type[kind] = {"average": answered.metric(f"/{kind}", [[kind]], digits)}
    tally.metrics["average"] = answered.metric("", list(answered.tasks.values()), digits)
    return tally.evaluation(paired)


def _values(
    samples: Sequence[Sample], paired: Sequence[Prediction | None], protocol: str
) -> NDArray[np.float64]:
    return np.array(
        [
            0.0 if item is None else answer_value(item.text or "", sample, protocol)
            for item, sample in zip(paired, samples, strict=True)
        ]
    )


class _Answered:
    """Values per question, and their means over kinds of question, tasks, and all tasks."""

    def __init__(self, samples: Sequence[Sample], values: NDArray[np.float64]) -> None:
        self.values = values
        rows: dict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(samples):
            rows[sample.question_type].append(row)
        self._rows = rows
        self.tasks = {
            task: [kind for kind, of in _TASK_OF.items() if of == task and kind in rows]
            for task in TASKS
        }
        self.tasks = {task: kinds for task, kinds in self.tasks.items() if kinds}
        self._draws = {kind: _resampled_means(values[found]) for kind, found in rows.items()}
        self._majority = {kind: _majority(samples, found) for kind, found in rows.items()}
        self._chance = {kind: _chance(samples, found) for kind, found in rows.items()}

    def need_all_directions(self) -> None:
        """Newer lmms-eval cannot do without one of the three levels."""
        for kind in DIRECTIONS:
            if kind not in self._rows:
                reason = f"protocol lmms_eval needs all three direction types; there is no {kind}"
                raise AnnotationError("annotations", "-", "question_type", reason)

    def metric(self, suffix: str, tasks: Sequence[Sequence[str]], digits: int | None) -> Metric:
        """Mean over tasks of the means over their kinds."""
        value = _nested(
            {kind: self.values[rows].mean() for kind, rows in self._rows.items()}, tasks
        )
        low, high = percentile_interval(_nested(self._draws, tasks))
        chance = [self._chance[kind] for kinds in tasks for kind in kinds]
        return Metric(
            name=f"{NAME}/average{suffix}",
            value=100 * (float(value) if digits is None else round(float(value), digits)),
            n=sum(len(self._rows[kind]) for kinds in tasks for kind in kinds),
            chance=None if None in chance else 100 * float(_nested(self._chance, tasks)),
            majority=100 * float(_nested(self._majority, tasks)),
            ci95=(100 * low, 100 * high),
        )


def _nested(by_kind: Mapping[str, Any], tasks: Sequence[Sequence[str]]) -> Any:
    return np.mean([np.mean([by_kind[kind] for kind in kinds], axis=0) for kinds in tasks], axis=0)


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [R] of questions of one kind, drawn with replacement."""
    sums = resampled_sums(values[:, None])
    means: NDArray[np.float64] = sums[:, 0] / values.size
    return means


def _majority(samples: Sequence[Sample], rows: Sequence[int]) -> float:
    """Score of always giving the most frequent true answer of this kind of question."""
    counts = Counter(samples[row].answers[0] for row in rows)
    top = min(counts, key=lambda answer: (-counts[answer], answer))
    return float(np.mean([answer_value(top, samples[row], "official") for row in rows]))


def _chance(samples: Sequence[Sample], rows: Sequence[int]) -> float | None:
    """One out of the options; unknown for numbers."""
    if samples[rows[0]].question_type in NUMERIC:
        return None
    return float(np.mean([1 / int(samples[row].tags["options"]) for row in rows]))


def locate_vsibench(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's file in a folder: `vsibench_<split>` or `<split>`, JSON Lines or Parquet."""
    names = [f"{stem}{split}{end}" for stem in ("vsibench_", "") for end in (".jsonl", ".parquet")]
    paths = [folder.annotations(name) for name in names]
    return AnnotationFiles((next((path for path in paths if path.is_file()), paths[0]),))


VSIBENCH = BenchmarkKind(
    NAME,
    PROTOCOLS,
    locate_vsibench,
    read_vsibench,
    evaluate_vsibench,
    frames_only=True,
    max_new_tokens=16,
)
