"""ScanQA: answer a free question about a scene. Exact match and text scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import (
    Identifier,
    Record,
    SceneId,
    parse_records,
    refuse_repeats,
)
from threedrs_components.benchmarks.baselines import answer_baselines
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Evaluation, Tally, groups_of, pair_predictions
from threedrs_components.benchmarks.text_scores import TextScores
from threedrs_components.metrics.answer_cleaning import clean_answer
from threedrs_components.metrics.exact_match import (
    chat_scene_answer,
    chat_scene_match,
    exact_and_refined,
    exact_match,
    leo_match,
)
from threedrs_components.metrics.ptb import ptb_references, ptb_tokenize
from threedrs_platform.records import Prediction, Sample

NAME = "scanqa"
TYPES = ("Place", "Number", "Color", "Object nature", "Object", "Other")
PROTOCOLS = {
    "3drs": "raw texts; only trailing dots are dropped, for the n-gram scores",
    "official": "ScanQA's script: raw exact match, PTB tokens for the n-gram scores",
    "leo": "cleaned texts on both sides, exact and refined match",
    "chat_scene": "cleaned prediction against raw references, exact and refined match, PTB tokens",
}
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


def read_scanqa(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per question; of the training split one per answer."""
    [(path, values)] = parsed
    records = parse_records(values, Question, path)
    refuse_repeats((record.question_id for record in records), path)
    return [
        _sample(record, f"_{number}" if split == "train" else "", answers, prompts, split)
        for record in records
        for number, answers in enumerate(
            [(answer,) for answer in record.answers]
            if split == "train"
            else [tuple(record.answers)]
        )
    ]


def _sample(
    record: Question, suffix: str, answers: tuple[str, ...], prompts: PromptConfig, split: str
) -> Sample:
    task = {"task": record.task} if record.task else {}
    return Sample(
        sample_id=f"{NAME}_{record.question_id}{suffix}",
        benchmark=NAME,
        scene_id=record.scene_id,
        kind="text",
        prompt=prompts.render(NAME, split, question=record.question),
        answers=answers,
        question_type=record.task or question_class(record.question),
        tags={"alias": record.question_id + suffix, **task},
    )


@dataclass(frozen=True)
class _Compared:
    """What a protocol compares: texts for the n-gram scores, and matches [N]."""

    texts: list[str]
    references: list[list[str]]
    exact: list[float]
    refined: list[float] | None = None
    """None where the protocol knows no refined match."""


def evaluate_scanqa(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str],
) -> Evaluation:
    """em@1 (also per question type), em@10 where answers are ranked, and the text scores."""
    paired = pair_predictions(samples, predictions)
    answers = [_ranked(item) for item in paired]
    compare = {
        "3drs": _compare_3drs,
        "official": _compare_official,
        "leo": _compare_leo,
        "chat_scene": _compare_chat_scene,
    }[protocol]
    compared = compare([item[0] if item else None for item in answers], samples)
    tally = Tally(NAME, protocol, samples, groups_of(samples, TYPES))
    baselines = answer_baselines(samples, [sample.answers for sample in samples])
    tally.add("em@1", compared.exact, chance=baselines.chance, majority=baselines.majority)
    if compared.refined is not None:
        tally.add("em_refined", compared.refined)
    if any(len(item) > 1 for item in answers):
        tally.add("em@10", _in_first_ten(answers, samples))
    scores = TextScores(compared.references, text_metrics)
    scores.report(tally, compared.texts, constants=scores.best_constants())
    return tally.evaluation(paired)


def _ranked(prediction: Prediction | None) -> tuple[str, ...]:
    """Answers best first; none for a missing prediction."""
    if prediction is None:
        return ()
    return prediction.texts or ((prediction.text or ""),)


def _in_first_ten(answers: Sequence[Sequence[str]], samples: Sequence[Sample]) -> list[float]:
    return [
        float(not set(ranked[:10]).isdisjoint(sample.answers))
        for ranked, sample in zip(answers, samples, strict=True)
    ]


def _raw_references(samples: Sequence[Sample]) -> list[list[str]]:
    return [list(sample.answers) for sample in samples]


def _exact(texts: Sequence[str | None], samples: Sequence[Sample]) -> list[float]:
    return [exact_match(text, sample.answers) for text, sample in zip(texts, samples, strict=True)]


def _compare_3drs(texts: Sequence[str | None], samples: Sequence[Sample]) -> _Compared:
    stripped = [(text or "").rstrip(".") for text in texts]
    return _Compared(stripped, _raw_references(samples), _exact(texts, samples))


def _compare_official(texts: Sequence[str | None], samples: Sequence[Sample]) -> _Compared:
    tokens = ptb_tokenize([text or "" for text in texts])
    references = ptb_references(_raw_references(samples))
    return _Compared(tokens, references, _exact(texts, samples))


def _compare_leo(texts: Sequence[str | None], samples: Sequence[Sample]) -> _Compared:
    cleaned = [None if text is None else clean_answer(text) for text in texts]
    references = [[clean_answer(text) for text in sample.answers] for sample in samples]
    matches = [
        (0.0, 0.0) if text is None else leo_match(text, answers)
        for text, answers in zip(cleaned, references, strict=True)
    ]
    return _Compared([text or "" for text in cleaned], references, *exact_and_refined(matches))


def _compare_chat_scene(texts: Sequence[str | None], samples: Sequence[Sample]) -> _Compared:
    cleaned = [clean_answer(chat_scene_answer(text or "")) for text in texts]
    matches = [
        chat_scene_match(text, sample.answers)
        for text, sample in zip(cleaned, samples, strict=True)
    ]
    references = ptb_references(_raw_references(samples))
    return _Compared(ptb_tokenize(cleaned), references, *exact_and_refined(matches))


def locate_scanqa(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's file in a folder."""
    return AnnotationFiles((folder.annotations(f"ScanQA_v1.0_{split}.json"),))


SCANQA = BenchmarkKind(
    NAME, PROTOCOLS, locate_scanqa, read_scanqa, evaluate_scanqa, takes=("text", "texts")
)
