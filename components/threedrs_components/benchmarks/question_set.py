"""Questions that are learned and never scored: their records come with the scenes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import Record, parse_records, refuse_repeats
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.config import Config
from threedrs_platform.records import Sample


class QuestionSet(Config):
    """One kind of set. Steps are told the module of its loader, and never import this."""

    kind: str = ""
    loader: ClassVar[type[QuestionSetLoader]]


class _Question(Record):
    """What the scenes have written of a record: one scene, one question."""

    id: str
    question: str
    answer: str
    question_type: str = ""
    scene: str = ""
    """Of an earlier question, whose images it shares; else its own, which is called as it is."""


class QuestionSetLoader(Loader):
    """Reads `<kind>_train.jsonl`, which scenes of kind videos have drawn."""

    prompt: Annotated[str, template("question")] = "{question}"

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """Among the scenes, wherever other annotations lie: that is what was drawn."""
        root = folder.scenes or folder.root
        return AnnotationFiles((root / "annotations" / f"{self.kind}_{split}.jsonl",))

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per record."""
        [(path, values)] = parsed
        records = parse_records(values, _Question, path)
        refuse_repeats((record.id for record in records), path)
        return [
            Sample(
                sample_id=record.id,
                benchmark=self.kind,
                scene_id=record.scene or record.id,
                kind="text",
                prompt=wording.render(self.prompt, split, question=record.question),
                answers=(record.answer,),
                question_type=record.question_type,
            )
            for record in records
        ]
