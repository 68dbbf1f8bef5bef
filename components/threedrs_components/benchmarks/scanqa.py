"""ScanQA: answer a free question about a scene. Exact match, CIDEr, BLEU-4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field

from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    read_json,
    refuse_repeats,
)
from threedrs_components.benchmarks.boxes import AnnotationFolder
from threedrs_components.benchmarks.captions import CaptionScores, best_constants
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import (
    Tally,
    answer_baselines,
    groups_of,
    pair_predictions,
)
from threedrs_components.metrics.exact_match import exact_match
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore

NAME = "scanqa"
TYPES = ("Place", "Number", "Color", "Object nature", "Object", "Other")
_CLUES = (
    ("Where", "Place"),
    ("How many", "Number"),
    ("What color", "Color"),
    ("What is the color", "Color"),
    ("What shape", "Object nature"),
    ("What type", "Object nature"),
    ("What kind", "Object nature"),
    ("What is", "Object"),
)


class Question(Record):
    """One record of `ScanQA_v1.0_<split>.json`."""

    question_id: Identifier
    scene_id: SceneId
    question: str
    answers: list[str] = Field(min_length=1)
    task: str | None = None


def question_class(question: str) -> str:
    """ScanQA's own class of a question: the first clue found in it, capitals as written."""
    return next((name for clue, name in _CLUES if clue in question), "Other")


@dataclass(frozen=True)
class ScanQA:
    """Free-form question answering."""

    folder: AnnotationFolder
    prompts: PromptConfig = field(default_factory=PromptConfig)

    def samples(self, split: str) -> list[Sample]:
        """One sample per question; of the training split one per answer.

        Raises:
            AnnotationError: a faulty record, or a question id twice.
        """
        path = self.folder.annotations(f"ScanQA_v1.0_{split}.json")
        records = parse_records(read_json(path), Question, path)
        refuse_repeats((record.question_id for record in records), path)
        samples = []
        for record in records:
            wanted = tuple(record.answers)
            targets = [(answer,) for answer in wanted] if split == "train" else [wanted]
            samples += [
                self._sample(record, split, number, answers)
                for number, answers in enumerate(targets)
            ]
        return samples

    def _sample(
        self, record: Question, split: str, number: int, answers: tuple[str, ...]
    ) -> Sample:
        suffix = f"_{number}" if split == "train" else ""
        return Sample(
            sample_id=f"{NAME}_{record.question_id}{suffix}",
            benchmark=NAME,
            scene_id=record.scene_id,
            kind="text",
            prompt=self.prompts.render(NAME, split, question=record.question),
            answers=answers,
            question_type=record.task or question_class(record.question),
            tags={"task": record.task} if record.task else {},
        )

    def score(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> tuple[list[Metric], list[SampleScore]]:
        """em@1 (also per question type), cider, bleu4."""
        return score_scanqa(samples, predictions)


def score_scanqa(
    samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[list[Metric], list[SampleScore]]:
    """3DRS rules: raw exact match; trailing dots of the answer are dropped for n-gram scores."""
    paired = pair_predictions(samples, predictions)
    texts = [prediction.text if prediction else None for prediction in paired]
    references = [list(sample.answers) for sample in samples]
    baselines = answer_baselines(samples)
    tally = Tally(NAME, samples, groups_of(samples, TYPES))
    matches = [exact_match(text, answers) for text, answers in zip(texts, references, strict=True)]
    tally.add("em@1", matches, chance=baselines.chance, majority=baselines.majority)
    scores = CaptionScores(references)
    constants = best_constants(scores, Counter(answers[0] for answers in references))
    scores.report(tally, [(text or "").rstrip(".") for text in texts], constants)
    tally.add_missing(paired)
    return tally.metrics, tally.scores
