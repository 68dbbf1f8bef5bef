"""SQA3D's annotations: one sample per question, to train on one per wording of its situation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

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
from threedrs_components.benchmarks.llava_style import Conversation, Truth
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample

TYPES = ("what", "is", "how", "can", "which", "others")


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


class SQA3DLoader(Loader):
    """Reads SQA3D."""

    kind: Literal["sqa3d"] = "sqa3d"
    prompt: Annotated[str, template("situation", "question")] = (
        "{situation} {question} Answer the question using a single word or phrase."
    )
    wordings_share_an_id: ClassVar[bool] = True

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
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

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per question; of the training split one per wording of the situation."""
        questions, answers = _both_parts(parsed)
        samples = []
        for record in questions:
            answer = answers[record.question_id].answers[0].answer
            wordings = {record.question_id: record.situation}
            if split == "train":
                every = [*record.alternative_situation, record.situation]
                wordings = {f"{record.question_id}_{n}": each for n, each in enumerate(every)}
            for name, situation in wordings.items():
                prompt = wording.render(
                    self.prompt, split, situation=situation, question=record.question
                )
                samples.append(
                    Sample(
                        sample_id=f"{self.kind}_{name}",
                        benchmark=self.kind,
                        scene_id=record.scene_id,
                        kind="text",
                        prompt=prompt,
                        answers=(answer,),
                        question_type=question_type(record.question),
                        tags={"alias": name},
                    )
                )
        return samples

    def truth_of(self, record: Conversation) -> Truth:
        """Nothing but its texts."""
        return Truth()


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
