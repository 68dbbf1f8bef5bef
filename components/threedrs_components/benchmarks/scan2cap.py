"""Scan2Cap: describe an object of a scene. Caption scores, gated by how well the box fits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import parse_records, refuse_repeats
from threedrs_components.benchmarks.boxes import Box, target_box
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.micro_captions import is_micro, part_scores
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.scan2cap_candidates import (
    PROMPT_IOU,
    Candidates,
    Captions,
    assigned,
    most_overlapping,
    nearest_object,
    prompt_box,
    sort_captions,
)
from threedrs_components.benchmarks.scanrefer import Description
from threedrs_components.benchmarks.tally import LEFT_OUT, Evaluation, Tally
from threedrs_components.benchmarks.text_scores import TextScores
from threedrs_components.metrics.ptb import ptb_references, ptb_tokenize
from threedrs_components.metrics.uncertainty import bootstrap_mean
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

NAME = "scan2cap"
THRESHOLDS = (0.25, 0.5)
REFERENCE_TOKENS = 30
EMPTY = "sos eos"
_METRICS = ("bleu4", "meteor", "rouge_l", "cider")
"""Those the field reports for captions."""
PROTOCOLS = {
    "3drs": "best box with IoU >= 0.5, else the empty caption; lower case, dots and commas apart",
    "3drs_as_run": "as 3drs, but an object without prompt box has the references of the last one "
    "that has, as the released runner writes them",
    "scan2cap": "the first evaluator: IoU > t, 30 tokens of each reference, the last box wins",
    "benchmark": "Scan2Cap's benchmark: one-to-one boxes, recall, precision and F1 of captions",
    "leo": "best box with IoU >= 0.5, case kept; objects without any prediction are left out",
    "chat_scene": "best box with IoU >= t, PTB tokens on both sides",
}


def read_scan2cap(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per described object; of the training split one per description."""
    [(path, values)] = parsed
    records = parse_records(values, Description, path)
    refuse_repeats((record.key for record in records), path)
    located: list[tuple[Description, Box | None]] = [
        (
            record,
            target_box(record.bbox, files.objects, record.scene_id, record.object_id, path, index)
            if record.bbox or files.objects
            else None,
        )
        for index, record in enumerate(records)
    ]
    if split == "train":
        return [_training_sample(record, box, prompts) for record, box in located]
    by_object: dict[tuple[str, int, str], list[Description]] = defaultdict(list)
    boxes: dict[tuple[str, int, str], Box | None] = {}
    for record, box in located:
        key = (record.scene_id, record.object_id, record.object_name)
        by_object[key].append(record)
        boxes.setdefault(key, box)
    prompt = prompts.render(NAME, split)
    return [
        _evaluation_sample(group, boxes[key], files, prompt) for key, group in by_object.items()
    ]


def _training_sample(record: Description, box: Box | None, prompts: PromptConfig) -> Sample:
    return Sample(
        sample_id=f"{NAME}_{record.key}",
        benchmark=NAME,
        scene_id=record.scene_id,
        kind="text",
        prompt=prompts.render(NAME, "train"),
        answers=(prompts.describe(record.description),),
        target_ids=(record.object_id,),
        target_boxes=(box,) if box else (),
        box_input=box,
        tags=record.tags,
    )


def _evaluation_sample(
    group: Sequence[Description], box: Box | None, files: AnnotationFiles, prompt: str
) -> Sample:
    first = group[0]
    tokens = [" ".join(record.token) for record in group if record.token is not None]
    proposals = (files.proposals or {}).get(first.scene_id, ())
    prompted = box if box is None or files.oracle else prompt_box(proposals, box)
    return Sample(
        sample_id=f"{NAME}_{first.scene_id}_{first.object_id}_{first.object_name}".replace(
            " ", "_"
        ),
        benchmark=NAME,
        scene_id=first.scene_id,
        kind="text",
        prompt=prompt,
        answers=tuple(record.description for record in group),
        target_ids=(first.object_id,),
        target_boxes=(box,) if box else (),
        box_input=prompted,
        tags=first.tags | ({"tokens": "\n".join(tokens)} if len(tokens) == len(group) else {}),
    )


def framed_3drs(text: str) -> str:
    """Dots and commas apart, lower case, between "sos" and "eos"."""
    return ("sos " + text.replace(".", " . ").replace(",", " , ")).lower() + " eos"


def framed_leo(text: str | None) -> str:
    """Sentence dots apart, between "sos" and "eos"; "sos eos" where no box overlaps enough."""
    return EMPTY if text is None else f"sos {text} eos".replace(". ", " . ")


def framed(text: str | None) -> str:
    """Between "sos" and "eos", unless it is already."""
    if text and text.startswith("sos ") and text.endswith(" eos"):
        return text
    return f"sos {text} eos" if text else EMPTY


def evaluate_scan2cap(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str],
) -> Evaluation:
    """Captions against all descriptions of their object."""
    captions = sort_captions(samples, predictions)
    score: Callable[[Sequence[Sample], Captions, Sequence[str]], Evaluation] = {
        "3drs": _score_3drs,
        "3drs_as_run": _score_as_run,
        "scan2cap": _score_scan2cap,
        "benchmark": _score_benchmark,
        "leo": _score_leo,
        "chat_scene": _score_chat_scene,
    }[protocol]
    found = score(samples, captions, [name for name in _METRICS if name in text_metrics])
    return replace(found, warnings=(*found.warnings, *_box_warnings(samples, captions)))


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


def _score_as_run(
    samples: Sequence[Sample], captions: Captions, text_metrics: Sequence[str]
) -> Evaluation:
    """The runner keeps the references of the sample before where there is no prompt box; it fails
    where there is no sample before, which here has its own."""
    stale: list[Sample] = []
    for sample in samples:
        keeps = stale and sample.misses_its_box
        stale.append(replace(sample, answers=stale[-1].answers) if keeps else sample)
    return _score_3drs(stale, captions, text_metrics, "3drs_as_run")


def _score_3drs(
    samples: Sequence[Sample],
    captions: Captions,
    text_metrics: Sequence[str],
    protocol: str = "3drs",
) -> Evaluation:
    found = most_overlapping(samples, captions)
    tally = Tally(NAME, protocol, samples)
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


def _score_leo(
    samples: Sequence[Sample], captions: Captions, text_metrics: Sequence[str]
) -> Evaluation:
    found = most_overlapping(samples, captions, last_on_ties=True)
    rows = [row for row, text in enumerate(found.texts) if text is not None]
    kept = Candidates([found.texts[row] for row in rows], found.overlaps[rows])
    references = [[framed_leo(text) for text in samples[row].answers] for row in rows]
    tally = Tally(NAME, "leo", [samples[row] for row in rows])
    if rows:
        scores = TextScores(references, text_metrics)
        for threshold in _known_thresholds(captions):
            texts = [framed_leo(text) for text in kept.at(threshold)]
            scores.report(tally, texts, f"@{threshold:g}")
    return tally.evaluation(found.texts, LEFT_OUT)


def _score_chat_scene(
    samples: Sequence[Sample], captions: Captions, text_metrics: Sequence[str]
) -> Evaluation:
    found = most_overlapping(samples, captions)
    tally = Tally(NAME, "chat_scene", samples)
    references = ptb_references([[framed(text) for text in item.answers] for item in samples])
    scores = TextScores(references, text_metrics)
    for threshold in _known_thresholds(captions):
        texts = ptb_tokenize([framed(text) for text in found.at(threshold)])
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


def _score_scan2cap(
    samples: Sequence[Sample], captions: Captions, text_metrics: Sequence[str]
) -> Evaluation:
    tally = Tally(NAME, "scan2cap", samples)
    scores = TextScores(_token_references(samples, REFERENCE_TOKENS), text_metrics)
    nothing = nearest_object(samples, captions, -1.0)
    for threshold in THRESHOLDS:
        texts = nearest_object(samples, captions, threshold)
        scores.report(tally, [framed(text) for text in texts], f"@{threshold:g}")
    return tally.evaluation(nothing)


def _score_benchmark(
    samples: Sequence[Sample], captions: Captions, text_metrics: Sequence[str]
) -> Evaluation:
    """Sums of segment scores over matched objects, by predicted boxes, objects, or both.

    F1 is 2 S / (boxes + objects), which equals the harmonic mean; 0 where that is undefined.
    """
    found, boxes = assigned(samples, captions)
    tally = Tally(NAME, "benchmark", samples)
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


def locate_scan2cap(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's file in a folder: Scan2Cap's own, else ScanRefer's; with its proposals."""
    own = folder.annotations(f"Scan2Cap_{split}.json")
    shared = folder.annotations(f"ScanRefer_filtered_{split}.json")
    path = own if own.is_file() or not shared.is_file() else shared
    wanted = split != "train" and not folder.oracle
    proposals = folder.proposals(split) if wanted else None
    return AnnotationFiles((path,), folder.objects(), proposals, oracle=folder.oracle)


SCAN2CAP = BenchmarkKind(
    NAME,
    PROTOCOLS,
    locate_scan2cap,
    read_scan2cap,
    evaluate_scan2cap,
    takes=("text", "texts", "boxes"),
    uses_boxes=True,
)
