"""Scan2Cap's scorer: caption scores, gated by how well the box fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from threedrs_components.benchmarks.scan2cap.candidates import (
    Candidates,
    Captions,
    assigned,
    most_overlapping,
    nearest_object,
    sort_captions,
)
from threedrs_components.benchmarks.scan2cap.micro_captions import is_micro, part_scores
from threedrs_components.benchmarks.scan2cap.prompt_box import PROMPT_IOU
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import LEFT_OUT, Evaluation, Tally
from threedrs_components.benchmarks.text_scores import TextScores
from threedrs_components.benchmarks.unread import say_marks, say_odd_boxes
from threedrs_components.metrics.ptb import ptb_references, ptb_tokenize
from threedrs_components.metrics.uncertainty import bootstrap_mean
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

THRESHOLDS = (0.25, 0.5)
REFERENCE_TOKENS = 30
EMPTY = "sos eos"
_METRICS = ("bleu4", "meteor", "rouge_l", "cider")
"""Those the field reports for captions."""


class Scan2CapScorer(Scorer):
    """Scores Scan2Cap."""

    kind: Literal["scan2cap"] = "scan2cap"
    compares_texts: ClassVar[bool] = True

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """Captions against all descriptions of their object."""
        captions = sort_captions(samples, predictions)
        score: Callable[[Tally, Captions, Sequence[str]], Evaluation] = {
            "3drs": _score_3drs,
            "3drs_as_run": _score_as_run,
            "scan2cap": _score_scan2cap,
            "benchmark": _score_benchmark,
            "leo": _score_leo,
            "chat_scene": _score_chat_scene,
        }[self.protocol]
        tally = Tally(self.kind, self.protocol, samples)
        say_marks(tally, captions.by_object)
        own = [item.boxes if item else () for item in captions.by_object]
        say_odd_boxes(tally, samples, own)
        found = score(tally, captions, [name for name in _METRICS if name in self.text_metrics])
        return replace(found, warnings=(*found.warnings, *_box_warnings(samples, captions)))


def framed_3drs(text: str) -> str:
    """Dots and commas apart, lower case, between "sos" and "eos"."""
    # Lower case after framing, and no space is squeezed: "sos  eos" is the empty caption.
    return ("sos " + text.replace(".", " . ").replace(",", " , ")).lower() + " eos"


def framed_leo(text: str | None) -> str:
    """Sentence dots apart, between "sos" and "eos"; "sos eos" where no box overlaps enough."""
    # A dot before "eos" stands before a space, too; one inside a number does not.
    return EMPTY if text is None else f"sos {text} eos".replace(". ", " . ")


def framed_chat_scene(text: str | None) -> str:
    """Between "sos" and "eos", even where it is already; "sos eos" where there is no text."""
    return f"sos {text} eos" if text else EMPTY


def framed(text: str | None) -> str:
    """Between "sos" and "eos", unless it is already."""
    if text and text.startswith("sos ") and text.endswith(" eos"):
        return text
    return f"sos {text} eos" if text else EMPTY


def _box_warnings(samples: Sequence[Sample], captions: Captions) -> list[str]:
    """Say it where the rule about boxes could not be checked, although the true boxes are known."""
    if captions.bring_boxes or captions.prompted:
        return []
    taken = sum(
        bool(item and item.text and sample.target_boxes)
        for item, sample in zip(captions.by_object, samples, strict=True)
    )
    reason = "captions bring no box: taken as about one that overlaps its object by 0.5 or more"
    return [f"{taken} {reason}"] if taken else []


def _known_thresholds(captions: Captions) -> tuple[float, ...]:
    """Captions without box were chosen at 0.5; where they bring boxes, all rules are also read at
    0.25, which 3DRS and LEO do not know."""
    return THRESHOLDS if captions.bring_boxes else (PROMPT_IOU,)


def _score_as_run(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    """The runner keeps the references of the sample before where there is no prompt box; it fails
    where there is no sample before, which here has its own."""
    stale: list[Sample] = []
    for sample in tally.samples:
        keeps = stale and sample.misses_its_box
        stale.append(replace(sample, answers=stale[-1].answers) if keeps else sample)
    return _score_3drs(replace(tally, samples=stale), captions, text_metrics)


def _score_3drs(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    samples = tally.samples
    found = most_overlapping(samples, captions)
    scores = TextScores(
        [[framed_3drs(text) for text in sample.answers] for sample in samples], text_metrics
    )
    answerable = [not sample.misses_its_box for sample in samples]
    constants = scores.best_constants(answerable, framed_3drs(""))
    for threshold in _known_thresholds(captions):
        texts = [framed_3drs(text or "") for text in found.at(threshold)]
        best = constants if threshold == PROMPT_IOU else None
        scores.report(tally, texts, f"@{threshold:g}", best)
    _add_micro_parts(tally, [text or "" for text in found.at(PROMPT_IOU)], answerable)
    return tally.evaluation(found.texts)


def _add_micro_parts(tally: Tally, texts: Sequence[str], answerable: Sequence[bool]) -> None:
    references = [sample.answers for sample in tally.samples]
    if not is_micro(references):
        return
    for part in ("direction", "colour_category"):
        scores = part_scores(part, texts, references, answerable)
        tally.add(f"{part}@0.5", scores.values, chance=scores.chance, majority=scores.majority)


def _score_leo(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    samples = tally.samples
    found = most_overlapping(samples, captions, last_on_ties=True)
    rows = [row for row, text in enumerate(found.texts) if text is not None]
    kept = Candidates([found.texts[row] for row in rows], found.overlaps[rows])
    # LEO's references come ready from a corpus file: only its predictions get their dots apart.
    references = [[framed(text) for text in samples[row].answers] for row in rows]
    tally = replace(tally, samples=[samples[row] for row in rows])
    if rows:
        scores = TextScores(references, text_metrics)
        for threshold in _known_thresholds(captions):
            texts = [framed_leo(text) for text in kept.at(threshold)]
            scores.report(tally, texts, f"@{threshold:g}")
    return tally.evaluation(found.texts, LEFT_OUT)


def _score_chat_scene(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    found = most_overlapping(tally.samples, captions)
    references = ptb_references([[framed(text) for text in item.answers] for item in tally.samples])
    scores = TextScores(references, text_metrics)
    for threshold in _known_thresholds(captions):
        texts = ptb_tokenize([framed_chat_scene(text) for text in found.at(threshold)])
        scores.report(tally, texts, f"@{threshold:g}")
    return tally.evaluation(found.texts)


def _token_references(samples: Sequence[Sample], longest: int | None) -> list[list[str]]:
    """References made of the annotators' tokens, as both Scan2Cap evaluators compare them."""
    references = []
    for row, sample in enumerate(samples):
        if "tokens" not in sample.tags:
            reason = "is missing; this protocol compares the annotation's own token lists"
            raise AnnotationError("annotations", row, "token", reason)
        texts = [text.split(" ")[:longest] for text in sample.tags["tokens"].split("\n")]
        references.append([f"sos {' '.join(words)} eos" for words in texts])
    return references


def _score_scan2cap(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    scores = TextScores(_token_references(tally.samples, REFERENCE_TOKENS), text_metrics)
    # Every box overlaps by more than -1: who has no text here has no prediction.
    any_text = nearest_object(tally.samples, captions, -1.0)
    for threshold in THRESHOLDS:
        texts = nearest_object(tally.samples, captions, threshold)
        scores.report(tally, [framed(text) for text in texts], f"@{threshold:g}")
    return tally.evaluation(any_text)


def _score_benchmark(tally: Tally, captions: Captions, text_metrics: Sequence[str]) -> Evaluation:
    """Sums of segment scores over matched objects, by predicted boxes, objects, or both.

    F1 is 2 S / (boxes + objects), which equals the harmonic mean; 0 where that is undefined.
    """
    samples = tally.samples
    found, boxes = assigned(samples, captions)
    scores = TextScores(_token_references(samples, None), text_metrics)
    texts = [framed(text) for text in found.texts]
    matched = np.array([text is not None for text in found.texts])
    for name in scores.metrics:
        segments = scores.segments(name, texts)
        for threshold in THRESHOLDS:
            values = segments * (matched & (found.overlaps >= threshold))
            interval = bootstrap_mean(values) or (0.0, 0.0)
            objects = len(samples)
            divisors = {"recall": objects, "precision": boxes, "f1": (objects + boxes) / 2}
            for part, divisor in divisors.items():
                scale = len(samples) / divisor if divisor else 0.0
                limits = (scale * interval[0], scale * interval[1])
                size = int(divisor) if part != "f1" else len(samples)
                label = f"{name}@{threshold:g}"
                value = scale * float(values.mean())
                tally.add_corpus(f"{label}/{part}", value, limits, size=size)
                if part == "f1":
                    tally.add_corpus(label, value, limits)
    return tally.evaluation(found.texts)
