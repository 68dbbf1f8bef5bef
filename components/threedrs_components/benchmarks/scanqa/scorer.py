"""ScanQA's scorer: exact match and text scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from threedrs_components.benchmarks.baselines import answer_baselines
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import (
    Evaluation,
    Tally,
    groups_of,
    pair_predictions,
    predictions_of_each,
)
from threedrs_components.benchmarks.text_scores import TextScores
from threedrs_components.benchmarks.unread import say_marks
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

TYPES = ("Place", "Number", "Color", "Object nature", "Object", "Other")


class ScanQAScorer(Scorer):
    """Scores ScanQA."""

    kind: Literal["scanqa"] = "scanqa"
    compares_texts: ClassVar[bool] = True

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """em@1 (also per question type), em@10 where answers are ranked, and the text scores."""
        paired = pair_predictions(samples, predictions)
        return self._judge(samples, list(zip(samples, paired, strict=True)), paired)

    def evaluate_rows(self, samples: Sequence[Sample], rows: Sequence[Prediction]) -> Evaluation:
        """As `evaluate`; of several answers to a question 3DRS counts each in em@1, and the last in
        the text scores.

        Raises:
            AnnotationError: an id is unknown, or is predicted twice under another protocol.
        """
        if self.protocol != "3drs":
            return self.evaluate(samples, rows)
        each: list[tuple[Sample, Prediction | None]] = []
        last: list[Prediction | None] = []
        for sample, given in zip(samples, predictions_of_each(samples, rows), strict=True):
            answers: list[Prediction | None] = [item for _, item in given]
            answers = answers or [None]
            each += [(sample, item) for item in answers]
            last.append(answers[-1])
        return self._judge(samples, each, last)

    def _judge(
        self,
        samples: Sequence[Sample],
        each: Sequence[tuple[Sample, Prediction | None]],
        last: Sequence[Prediction | None],
    ) -> Evaluation:
        """From every answer with its question, and the last answer [N] of each question."""
        compare = {
            "3drs": _compare_3drs,
            "official": _compare_official,
            "leo": _compare_leo,
            "chat_scene": _compare_chat_scene,
        }[self.protocol]
        repeats = len(each) - len(samples)
        asked = [sample for sample, _ in each]
        answers = [_ranked(item) for _, item in each]
        matched = compare([item[0] if item else None for item in answers], asked)
        tally = Tally(self.kind, self.protocol, asked, groups_of(asked, TYPES))
        if repeats:
            reason = "each counts in em@1, the last one in the text scores, as 3DRS counts them"
            tally.warnings.append(f"{repeats} answers repeat a question: {reason}")
        say_marks(tally, [item for _, item in each])
        baselines = answer_baselines(asked, [sample.answers for sample in asked])
        tally.add("em@1", matched.exact, chance=baselines.chance, majority=baselines.majority)
        if matched.refined is not None:
            tally.add("em_refined", matched.refined)
        if any(len(item) > 1 for item in answers):
            tally.add("em@10", _in_first_ten(answers, asked))
        tally = replace(tally, samples=samples)
        compared = compare([(_ranked(item) or (None,))[0] for item in last], samples)
        scores = TextScores(compared.references, self.text_metrics)
        scores.report(tally, compared.texts, constants=scores.best_constants())
        return tally.evaluation(last)


@dataclass(frozen=True)
class _Compared:
    """What a protocol compares: texts for the n-gram scores, and matches [N]."""

    texts: list[str]
    references: list[list[str]]
    exact: list[float]
    refined: list[float] | None = None
    """None where the protocol knows no refined match."""


def _ranked(prediction: Prediction | None) -> tuple[str, ...]:
    """Answers best first; none for a missing prediction."""
    if prediction is None:
        return ()
    return prediction.texts or ((prediction.text or ""),)


def _in_first_ten(answers: Sequence[Sequence[str]], samples: Sequence[Sample]) -> list[float]:
    return [
        # Raw texts, whatever the protocol: only ScanQA's own script ranks answers.
        float(not set(ranked[:10]).isdisjoint(sample.answers))
        for ranked, sample in zip(answers, samples, strict=True)
    ]


def _raw_references(samples: Sequence[Sample]) -> list[list[str]]:
    return [list(sample.answers) for sample in samples]


def _exact(texts: Sequence[str | None], samples: Sequence[Sample]) -> list[float]:
    return [exact_match(text, sample.answers) for text, sample in zip(texts, samples, strict=True)]


def _compare_3drs(texts: Sequence[str | None], samples: Sequence[Sample]) -> _Compared:
    # The runner strips its own answers, not the references, and only for the n-gram scores.
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
    # Chat-Scene cleans the answer and compares it with references as they are written.
    cleaned = [clean_answer(chat_scene_answer(text or "")) for text in texts]
    matches = [
        chat_scene_match(text, sample.answers)
        for text, sample in zip(cleaned, samples, strict=True)
    ]
    references = ptb_references(_raw_references(samples))
    return _Compared(ptb_tokenize(cleaned), references, *exact_and_refined(matches))
