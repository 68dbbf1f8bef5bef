"""VSI-Bench's annotations: one sample per question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import parse_records, refuse_repeats
from threedrs_components.benchmarks.clip_questions import CHOICE_PROMPT
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.vsibench.questions import Question
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_platform.errors import AnnotationError, DataError
from threedrs_platform.records import Sample

DEBIASED = "test_debiased"
"""The split of VSI-Bench-Debiased."""
PRUNED_IDS = "pruned_ids.txt"
"""Beside the questions: one id a line."""


class VSIBenchLoader(Loader):
    """Reads VSI-Bench."""

    kind: Literal["vsibench"] = "vsibench"
    prompt_choice: Annotated[str, template("question", "options")] = CHOICE_PROMPT
    prompt_number: Annotated[str, template("question")] = (
        "These are frames of a video.\n{question}\n"
        "Please answer the question using a single word or phrase."
    )

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's file in a folder: `vsibench_<split>` or `<split>`, JSON Lines or Parquet, or
        as the hub names it. Where there is no file of test_debiased, that of test is filtered."""
        splits = (split, "test") if split == DEBIASED else (split,)
        paths = [
            folder.annotations(f"{stem}{each}{end}")
            for each in splits
            for stem in ("vsibench_", "")
            for end in (".jsonl", ".parquet", "-00000-of-00001.parquet")
        ]
        return AnnotationFiles((next((path for path in paths if path.is_file()), paths[0]),))

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per question; ids are the file's, else positions."""
        [(path, values)] = parsed
        records = parse_records(values, Question, path)
        if split == DEBIASED:
            records = _debiased(records, path)
        ids = [record.id or str(index) for index, record in enumerate(records)]
        refuse_repeats(ids, path)
        return [
            Sample(
                sample_id=f"{self.kind}_{name}",
                benchmark=self.kind,
                scene_id=record.clip,
                kind="text",
                prompt=record.prompt(wording, split, self.prompt_choice, self.prompt_number),
                answers=(str(record.ground_truth),),
                question_type=record.question_type,
                tags={
                    "alias": name,
                    "dataset": record.dataset,
                    "options": str(len(record.options or ())),
                },
            )
            for name, record in zip(ids, records, strict=True)
        ]


def _debiased(records: list[Question], path: Path) -> list[Question]:
    """The questions that need looking.

    Raises:
        AnnotationError: nothing tells which these are, or a list that is of other questions.
    """
    if DEBIASED in path.stem:
        return records
    listed = path.with_name(PRUNED_IDS)
    if listed.is_file():
        pruned = _pruned_ids(listed, {record.id for record in records})
        return [record for record in records if record.id not in pruned]
    if all(record.pruned is None for record in records):
        reason = f"no column pruned and no {PRUNED_IDS} beside it; get {DEBIASED}.parquet"
        raise AnnotationError(path, "-", "pruned", reason)
    return [record for record in records if not record.pruned]


def _pruned_ids(listed: Path, known: set[str | None]) -> set[str]:
    try:
        pruned = set(listed.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise DataError(f"{listed}: cannot be read: {error}") from error
    unknown = sorted(pruned - known)
    if not pruned:
        raise AnnotationError(listed, "-", "file", "holds no id")
    if unknown:
        reason = (
            f"{len(unknown)} of its {len(pruned)} ids are of no question, e.g. {unknown[0]!r}: "
            f"questions of another revision, or without ids? get {DEBIASED}.parquet"
        )
        raise AnnotationError(listed, "-", "id", reason)
    return pruned
