"""ReVSI's annotations: one sample per question."""

from __future__ import annotations

from typing import Annotated, Literal

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import parse_records
from threedrs_components.benchmarks.clip_questions import CHOICE_PROMPT
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.revsi.questions import Question
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.records import Sample


class ReVSILoader(Loader):
    """Reads ReVSI. A split is a number of frames: their questions differ, too."""

    kind: Literal["revsi"] = "revsi"
    prompt_choice: Annotated[str, template("question", "options")] = CHOICE_PROMPT
    prompt_number: Annotated[str, template("question")] = (
        "These are frames of a video.\n{question}\n"
        "Answer the question using a single integer or decimal number."
    )

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """`revsi_<split>`, JSON Lines or Parquet, or the split's folder as the hub has it."""
        names = (
            f"revsi_{split}.jsonl",
            f"revsi_{split}.parquet",
            f"{split}.parquet",
            f"{split}/test-00000-of-00001.parquet",
        )
        paths = [folder.annotations(name) for name in names]
        return AnnotationFiles((next((path for path in paths if path.is_file()), paths[0]),))

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per question; ids are positions in the file."""
        [(path, values)] = parsed
        return [
            Sample(
                sample_id=f"{self.kind}_{index}",
                benchmark=self.kind,
                scene_id=record.clip,
                kind="text",
                prompt=record.prompt(wording, split, self.prompt_choice, self.prompt_number),
                answers=(str(record.ground_truth),),
                question_type=record.question_type,
                tags={
                    "dataset": f"{record.num_frames}_frame",
                    "options": str(len(record.options or ())),
                },
            )
            for index, record in enumerate(parse_records(values, Question, path))
        ]
