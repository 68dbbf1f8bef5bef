"""SQA3D: answer a question from a described situation in a scene. Exact match after cleaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
from threedrs_components.metrics.answer_cleaning import clean_answer
from threedrs_components.metrics.exact_match import (
    chat_scene_answer,
    chat_scene_match,
    exact_and_refined,
    leo_match,
)
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

NAME = "sqa3d"
TYPES = ("what", "is", "how", "can", "which", "others")
PROTOCOLS = {
    "3drs": "both sides cleaned, exact match",
    "leo": "both sides cleaned, exact match, and refined match by containment",
    "chat_scene": "as leo, without final dot; an empty answer matches nothing",
}


class Question(Record):
    """One record under `questions`."""

    question_id: Identifier
    scene_id: SceneId
    question: str
    situation: str
    alternative_situation: tuple[str, ...] = ()


class Answer(Record):
    """One answer of an annotation."""

    answer: str


class Annotation(Record):
    """One record under `annotations`."""

    question_id: Identifier
    scene_id: SceneId
    answers: list[Answer] = Field(min_length=1)


def question_type(question: str) -> str:
    """The first of the five beginnings the question has, else others; no word boundary needed."""
    start = question.lstrip().lower()
    return next((name for name in TYPES[:-1] if start.startswith(name)), TYPES[-1])


def read_sqa3d(
    parsed: Parsed, files: AnnotationFiles, prompts: PromptConfig, split: str
) -> list[Sample]:
    """One sample per question; of the training split one per wording of the situation."""
    questions, answers = _both_parts(parsed)
    samples = []
    for record in questions:
        situations = [record.situation]
        if split == "train":
            situations = [*record.alternative_situation, record.situation]
        for number, situation in enumerate(situations):
            name = f"{record.question_id}_{number}" if split == "train" else record.question_id
            samples.append(
                Sample(
                    sample_id=f"{NAME}_{name}",
                    benchmark=NAME,
                    scene_id=record.scene_id,
                    kind="text",
                    prompt=prompts.render(
                        NAME, split, situation=situation, question=record.question
                    ),
                    answers=(answers[record.question_id].answers[0].answer,),
                    question_type=question_type(record.question),
                    tags={"alias": name},
                )
            )
    return samples


def _both_parts(parsed: Parsed) -> tuple[list[Question], Mapping[str, Annotation]]:
    """Questions and annotations, from two files in any order or from one that holds both."""
    question_path, questions = _part(parsed, "questions")
    answer_path, annotations = _part(parsed, "annotations")
    asked = parse_records(questions, Question, question_path)
    refuse_repeats((record.question_id for record in asked), question_path)
    answered = parse_records(annotations, Annotation, answer_path)
    refuse_repeats((record.question_id for record in answered), answer_path)
    by_id = {record.question_id: record for record in answered}
    for index, record in enumerate(asked):
        if record.question_id not in by_id:
            reason = f"{record.question_id} has no annotation in {answer_path}"
            raise AnnotationError(question_path, index, "question_id", reason)
    scene_of = {record.question_id: record.scene_id for record in asked}
    for index, annotation in enumerate(answered):
        if annotation.question_id not in scene_of:
            reason = f"{annotation.question_id} has no question in {question_path}"
            raise AnnotationError(answer_path, index, "question_id", reason)
        if annotation.scene_id != scene_of[annotation.question_id]:
            reason = (
                f"is {annotation.scene_id}, but question {annotation.question_id} is about "
                f"{scene_of[annotation.question_id]}; are these files of the same release?"
            )
            raise AnnotationError(answer_path, index, "scene_id", reason)
    return asked, by_id


def _part(parsed: Parsed, key: str) -> tuple[Path, Any]:
    for path, values in parsed:
        if isinstance(values, dict) and key in values:
            return path, values[key]
    files = ", ".join(str(path) for path, _ in parsed)
    reason = f"none of the files has it; SQA3D needs its questions and its annotations ({files})"
    raise AnnotationError(parsed[0][0], "-", key, reason)


def evaluate_sqa3d(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocol: str,
    text_metrics: Sequence[str] = (),
) -> Evaluation:
    """em and em_refined per question type and over all samples."""
    paired = pair_predictions(samples, predictions)
    matches = [
        _match(item.text or "", sample, protocol) if item is not None else (0.0, 0.0)
        for item, sample in zip(paired, samples, strict=True)
    ]
    references = [[clean_answer(text) for text in sample.answers] for sample in samples]
    baselines = answer_baselines(samples, references)
    tally = Tally(NAME, protocol, samples, groups_of(samples, TYPES))
    exact, refined = exact_and_refined(matches)
    tally.add("em", exact, chance=baselines.chance, majority=baselines.majority)
    if protocol != "3drs":
        tally.add("em_refined", refined)
    return tally.evaluation(paired)


def _match(text: str, sample: Sample, protocol: str) -> tuple[float, float]:
    if protocol == "chat_scene":
        references = [clean_answer(chat_scene_answer(answer)) for answer in sample.answers]
        return chat_scene_match(clean_answer(chat_scene_answer(text)), references)
    return leo_match(clean_answer(text), [clean_answer(answer) for answer in sample.answers])


def locate_sqa3d(folder: AnnotationFolder, split: str) -> AnnotationFiles:
    """The split's two files in a folder, or in its `balanced/`."""
    names = (
        f"v1_balanced_questions_{split}_scannetv2.json",
        f"v1_balanced_sqa_annotations_{split}_scannetv2.json",
    )
    paths = []
    for name in names:
        path, balanced = folder.annotations(name), folder.root / "balanced" / name
        paths.append(balanced if balanced.is_file() and not path.is_file() else path)
    return AnnotationFiles(tuple(paths))


SQA3D = BenchmarkKind(
    NAME,
    PROTOCOLS,
    locate_sqa3d,
    read_sqa3d,
    evaluate_sqa3d,
    types=TYPES,
    record_files=2,
)
