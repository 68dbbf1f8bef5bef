"""ScanQA's annotations: one sample per question, to train on one per answer."""

from __future__ import annotations

from typing import Annotated, Literal

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
from threedrs_platform.records import Sample

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


class ScanQALoader(Loader):
    """Reads ScanQA."""

    kind: Literal["scanqa"] = "scanqa"
    prompt: Annotated[str, template("question")] = "{question} Answer the question simply."

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's file in a folder."""
        return AnnotationFiles((folder.annotations(f"ScanQA_v1.0_{split}.json"),))

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per question; of the training split one per answer."""
        [(path, values)] = parsed
        records = parse_records(values, Question, path)
        refuse_repeats((record.question_id for record in records), path)
        samples = []
        for record in records:
            prompt = wording.render(self.prompt, split, question=record.question)
            if split == "train":
                samples += [
                    self._sample(record, prompt, f"_{number}", (answer,))
                    for number, answer in enumerate(record.answers)
                ]
            else:
                samples.append(self._sample(record, prompt, "", tuple(record.answers)))
        return samples

    def _sample(
        self, record: Question, prompt: str, suffix: str, answers: tuple[str, ...]
    ) -> Sample:
        task = {"task": record.task} if record.task else {}
        return Sample(
            sample_id=f"{self.kind}_{record.question_id}{suffix}",
            benchmark=self.kind,
            scene_id=record.scene_id,
            kind="text",
            prompt=prompt,
            answers=answers,
            question_type=record.task or question_class(record.question),
            tags={"alias": record.question_id + suffix, **task},
        )

    def truth_of(self, record: Conversation) -> Truth:
        """No box; the conversation's id is the question's with a number behind it."""
        own, prefix = record.id, f"{self.kind}_"
        known = own.startswith(prefix)
        return Truth(alias=own.removeprefix(prefix).rpartition("_")[0] if known else "")
