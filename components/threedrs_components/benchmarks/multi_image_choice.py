"""Questions about one or several images whose answer is an option's letter: the half that reads.

A kind is one file: the record of its published files (`ChoiceRecord`), where these lie, and how
its authors find a letter in an answer (`choice_scores.ChoiceScorer`). Each question has images of
its own: `question_images` lays them out as clips, which scenes of kind videos read.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import takewhile
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, model_validator

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.annotations import Record, parse_records, refuse_repeats
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.wording import Wording, template
from threedrs_components.scenes.clip_names import scene_of
from threedrs_components.scenes.scene_names import inside
from threedrs_platform.records import Sample

DIRECTLY = "{question}\nAnswer with the option's letter from the given choices directly."
IMAGE_MARK = "<image>"
DIGITS = 16
"""Of the digest that names a set of images."""
FEWEST_OPTIONS = 2


def _content(value: Any) -> Any:
    """Bytes or the name of an image, in the forms of the hub: {bytes, path}, bytes, or a name."""
    if isinstance(value, Mapping):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if not isinstance(value, (str, bytes)) or not value:
        raise ValueError("must be an image: its bytes or the name of its file")
    if isinstance(value, str):
        inside(Path(), value)
    return value


ImageOf = Annotated[str | bytes, BeforeValidator(_content)]
"""An image in a record."""


@dataclass(frozen=True)
class Choice:
    """One question as it is asked and scored."""

    name: str
    """Its id; empty where records have none."""
    images: tuple[str | bytes, ...]
    """Names of files, or their content."""
    question: str
    """With its options, as they stand in the published prompt."""
    options: int
    letter: str
    """Of the right one."""
    question_type: str = ""
    dataset: str = ""
    """Where its images are from, if several data sets are asked about."""

    @property
    def scene(self) -> str:
        """What its images are called: questions on the same ones share them."""
        digest = sha256()
        for image in self.images:
            part = image.encode() if isinstance(image, str) else image
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:DIGITS]


class ChoiceRecord(Record):
    """One record of the published files of a kind."""

    @property
    @abstractmethod
    def choice(self) -> Choice:
        """The question.

        Raises:
            ValueError: something of it cannot be read; says what.
        """

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        choice = self.choice
        if not choice.images:
            raise ValueError("there is no image")
        if choice.options < FEWEST_OPTIONS:
            raise ValueError(f"{choice.options} options are found; a choice is among two or more")
        letters = ascii_uppercase[: choice.options]
        if choice.options > len(letters):
            raise ValueError(
                f"{choice.options} options are found; there are letters for {len(letters)}"
            )
        if choice.letter not in tuple(letters):  # "" and "AB" are parts of a text, too
            raise ValueError(f"the answer {choice.letter!r} is none of the options {letters}")
        return self


class ChoiceLoader(Loader):
    """Reads the questions of one kind."""

    record: ClassVar[type[ChoiceRecord]]
    published: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Split -> names of its file as it is published, maybe with a `*` for several files."""
    prompt: Annotated[str, template("question")] = DIRECTLY

    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The split's published files in a folder, or `<kind>_<split>` as JSON, lines, Parquet."""
        ends = (".jsonl", ".json", ".parquet")
        names = (*self.published.get(split, ()), *(f"{self.kind}_{split}{end}" for end in ends))
        found = [tuple(_files(folder, name)) for name in names]
        first = folder.annotations(names[0].replace("*", self.kind))
        return AnnotationFiles(next((paths for paths in found if paths), (first,)))

    def choices(self, parsed: Parsed) -> list[Choice]:
        """All questions of some files, in file order.

        Raises:
            AnnotationError: names file, record and field of what is wrong.
        """
        found: list[Choice] = []
        for path, values in parsed:
            own = [record.choice for record in parse_records(values, self.record, path)]
            refuse_repeats((choice.name for choice in own if choice.name), path)
            found += own
        return found

    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """One sample per question; ids are the files', else positions."""
        choices = self.choices(parsed)
        ids = [choice.name or str(index) for index, choice in enumerate(choices)]
        refuse_repeats(ids, files.records[-1])
        return [
            Sample(
                sample_id=f"{self.kind}_{name}",
                benchmark=self.kind,
                scene_id=scene_of(self.kind, choice.scene),
                kind="text",
                prompt=wording.render(
                    self.prompt, split, question=without_image_marks(choice.question)
                ),
                answers=(choice.letter,),
                question_type=choice.question_type,
                tags={
                    "alias": name,
                    "options": str(choice.options),
                    **({"dataset": choice.dataset} if choice.dataset else {}),
                },
            )
            for name, choice in zip(ids, choices, strict=True)
        ]


def without_image_marks(text: str) -> str:
    """The words alone: a student reads all images before the first of them."""
    return text.replace(f"{IMAGE_MARK}\n", "").replace(IMAGE_MARK, "").strip()


def lettered(options: Sequence[str], mark: str = ". ") -> str:
    """Options on lines of their own, each behind its letter."""
    return "\n".join(
        f"{letter}{mark}{text}" for letter, text in zip(ascii_uppercase, options, strict=False)
    )


def count_lettered(text: str, mark: str = ".") -> int:
    """How many options a text lists: A, B and so on, each with a mark behind it and in order."""
    rest = iter(re.findall(rf"(?<![A-Za-z0-9])([A-Z]){re.escape(mark)}(?=\s)", text))
    return sum(1 for _ in takewhile(lambda letter: letter in rest, ascii_uppercase))


def letter_at(index: int) -> str:
    """The letter of an option by its place.

    Raises:
        ValueError: it is no place.
    """
    if not 0 <= index < len(ascii_uppercase):
        raise ValueError(f"the answer {index} is no place among options")
    return ascii_uppercase[index]


def _files(folder: AnnotationFolder, name: str) -> Iterator[Path]:
    if "*" not in name:
        path = folder.annotations(name)
        if path.is_file():
            yield path
        return
    for root in (folder.root / "annotations", folder.root):
        found = sorted(root.glob(str(PurePosixPath(name))))
        if found:
            yield from found
            return
