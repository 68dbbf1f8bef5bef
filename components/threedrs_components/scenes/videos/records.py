"""Records to learn from that bring images of their own: which are drawn, and what they hold."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
)

from threedrs_components.record_files import read_values
from threedrs_components.scenes.scene_names import inside
from threedrs_components.scenes.videos.marks import marks_of
from threedrs_platform.errors import AnnotationError, DataError

SetName = Literal["spar", "llava_hound", "conversations"]
EVERY_TURN = "conversations"
"""The set whose records may hold several questions; of the others VG-LLM reads the first."""
IMAGE_MARK = "<image>"
PLACEHOLDERS = (IMAGE_MARK, "<video>")


@dataclass(frozen=True)
class TrainingRecord:
    """One question with its answer, and where its images lie under the folder of media."""

    id: str
    """Also the name of its scene."""
    question: str
    answer: str
    images: tuple[str, ...] = ()
    video: str = ""
    """A folder of frames, where there is no list of images."""
    question_type: str = ""
    marks: str = ""
    """SPAR: what is painted on the images, as the file has it"""
    scene: str = ""
    """The scene of an earlier question of its record, whose images it shares"""

    @property
    def scene_id(self) -> str:
        """The scene of its images."""
        return self.scene or self.id

    @property
    def place(self) -> int:
        """Of its record in the file, which the names of scenes tell."""
        return int(self.scene_id.rpartition("_")[2])


Speaker = Literal["human", "gpt", "system"]
_ROLES = {"user": "human", "assistant": "gpt"}
"""How ms-swift calls the speakers of LLaVA."""


def _speaker(role: Any) -> Any:
    return _ROLES.get(role, role) if isinstance(role, str) else role


class _Turn(BaseModel):
    speaker: Annotated[Speaker, BeforeValidator(_speaker)] = Field(
        validation_alias=AliasChoices("from", "role")
    )
    value: str = Field(validation_alias=AliasChoices("value", "content"))


class _Raw(BaseModel):
    """What is read of a record, in the form of LLaVA or of ms-swift."""

    conversations: list[_Turn] | None = None
    messages: list[_Turn] | None = None
    images: list[str] | None = None
    image: list[str] | str | None = None
    video: str | None = None
    videos: list[str] | None = None
    spar_info: str | None = None

    def turns(self) -> list[_Turn]:
        """All that is said behind what the system says first.

        Raises:
            ValueError: there is neither form, or both.
        """
        if (self.conversations is None) == (self.messages is None):
            raise ValueError("conversations (LLaVA) or messages (ms-swift): one of them is needed")
        said = self.messages if self.conversations is None else self.conversations
        return list(dropwhile(lambda turn: turn.speaker != "human", said or []))

    def views(self) -> tuple[tuple[str, ...], str]:
        """Names of images, or of one video.

        Raises:
            ValueError: there are none, or several videos.
        """
        one = (self.image,) if isinstance(self.image, str) else tuple(self.image or ())
        images, videos = tuple(self.images or one), self.videos or []
        video = self.video or (videos[0] if len(videos) == 1 else "")
        if len(videos) > 1:
            raise ValueError(f"videos: there are {len(videos)}; a question is about one")
        if not images and not video:
            raise ValueError("images: there are none, and no video")
        return images, "" if images else video


@dataclass
class Drawn:
    """The records that were drawn from a file."""

    total: int
    """Records of the file."""
    good: list[TrainingRecord] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    """Place in the file -> what is wrong with it."""

    @property
    def read(self) -> int:
        """How many records are good; one may hold several questions."""
        return sum(not record.scene for record in self.good)


def draw_records(
    name: SetName, path: Path, share: float, chance: random.Random, media: Path | None = None
) -> Drawn:
    """A share of the records of a file, chosen as VG-LLM chooses; scene ids count its records.

    Args:
        name: of the set.
        path: JSON Lines, a JSON list, or Parquet.
        share: of the records; 1 takes all.
        chance: `random.Random(0)`; the sets of one training share it, in their order.
        media: the folder that names of images start from; names that begin at the root of the
            disk are those below it.

    Raises:
        AnnotationError: the file is no such file, or holds no record.
    """
    values = None if path.suffix == ".jsonl" else _whole(path)
    total = _count(path) if values is None else len(values)
    if not total:
        raise AnnotationError(path, "-", "file", "holds no record")
    wanted = range(total) if share == 1 else sorted(chance.sample(range(total), int(total * share)))
    drawn = Drawn(total)
    # One line at a time: the file has eight million, and 3 % of them are wanted.
    found = _lines_at(path, set(wanted)) if values is None else ((at, values[at]) for at in wanted)
    for index, value in found:
        records = _records_or_reason(name, index, value, media)
        if isinstance(records, str):
            drawn.bad[index] = records
        else:
            drawn.good += records
    return drawn


def every_record(
    name: SetName, path: Path, media: Path | None
) -> Iterator[tuple[int, list[TrainingRecord] | str]]:
    """All records of a file, one at a time: place, and its questions or what is wrong with it.

    Args:
        name: of the set.
        path: as of `draw_records`.
        media: as of `draw_records`.

    Raises:
        AnnotationError: the file is no such file.
    """
    lines = path.suffix == ".jsonl"
    values = (line for _, line in filled_lines(path)) if lines else iter(_whole(path))
    for index, value in enumerate(values):
        yield index, _records_or_reason(name, index, value, media)


def write_drawn(folder: Path, name: SetName, drawn: Drawn) -> None:
    """Write `<name>_train.jsonl`, a record a line, and what is wrong with the others beside it."""
    with (folder / f"{name}_train.jsonl").open("w", encoding="utf-8") as out:
        for record in drawn.good:
            out.write(json.dumps(asdict(record)) + "\n")
    (folder / f"{name}_faulty.json").write_text(json.dumps(drawn.bad, indent=1))


def read_drawn(folder: Path, name: SetName) -> dict[str, TrainingRecord]:
    """The records that `write_drawn` wrote, by id."""
    adapter = TypeAdapter(TrainingRecord)
    with (folder / f"{name}_train.jsonl").open(encoding="utf-8") as lines:
        records = [adapter.validate_json(line) for line in lines]
    return {record.id: record for record in records}


def _records_or_reason(
    name: SetName, index: int, value: Any, media: Path | None
) -> list[TrainingRecord] | str:
    try:
        return _records(name, f"{name}_{index:07d}", value, media)
    except (ValueError, RecursionError) as error:
        return _reason(error)


def _records(name: SetName, record_id: str, value: Any, media: Path | None) -> list[TrainingRecord]:
    """The questions of a record: one, or as many as it has answers."""
    raw = _Raw.model_validate(value if not isinstance(value, bytes) else _parsed(value))
    turns, (images, video) = raw.turns(), raw.views()
    turns = turns if name == EVERY_TURN else turns[:2]
    speakers = [turn.speaker for turn in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError("conversations: a human turn and then a gpt turn are needed")
    if name == EVERY_TURN:
        _check_marks([turn.value for turn in turns[::2]], len(images))
        _check_answers([turn.value for turn in turns[1::2]])
    images = tuple(_named(each, media) for each in images)
    if raw.spar_info and images:
        marks_of(raw.spar_info, len(images))
    first = TrainingRecord(
        id=record_id,
        question=_without_placeholders(turns[0].value),
        answer=turns[1].value,
        images=images,
        video=_named(video, media) if video else "",
        question_type=_type_of(raw.spar_info),
        marks=raw.spar_info or "",
    )
    later = [
        replace(
            first,
            id=f"{record_id}_{number}",
            question=_without_placeholders(asked.value),
            answer=told.value,
            scene=record_id,
        )
        for number, (asked, told) in enumerate(zip(turns[2::2], turns[3::2], strict=True), 1)
    ]
    return [first, *later]


def _check_marks(questions: list[str], images: int) -> None:
    """As many images as are marked in what is asked; none marked is all of them first.

    Raises:
        ValueError: there are more or fewer. Of a video there is but one, however often marked.
    """
    count = sum(text.count(IMAGE_MARK) for text in questions)
    if images and count not in (0, images):
        raise ValueError(
            f"images: {images}, but {IMAGE_MARK} stands {count} times in what is asked; write it "
            "once for each image, or not at all"
        )


def _check_answers(answers: list[str]) -> None:
    """Each says something, and in words alone.

    Raises:
        ValueError: one is empty, or marks an image, which it cannot hold.
    """
    for number, text in enumerate(answers):
        if not text.strip():
            raise ValueError(f"answer {number} is empty: there is nothing to learn of it")
        for mark in (each for each in PLACEHOLDERS if each in text):
            raise ValueError(f"{mark} stands in answer {number}; images stand in what is asked")


def _named(name: str, media: Path | None) -> str:
    """A name of an image or video as it is under the folder of media.

    Raises:
        ValueError: it leads out of the folder.
    """
    if media is not None and PurePosixPath(name).is_absolute():
        root = media.absolute()
        if not Path(name).is_relative_to(root):
            raise ValueError(f"{name!r} is not below {root}; set media to a folder that holds all")
        name = str(Path(name).relative_to(root))
    inside(Path(), name)
    return name


def _without_placeholders(text: str) -> str:
    """The words alone: a student reads all images before the first of them."""
    for each in PLACEHOLDERS:
        text = text.replace(f"{each}\n", "").replace(each, "")
    return text


def _type_of(spar_info: str | None) -> str:
    return str(json.loads(spar_info)["type"]) if spar_info else ""


def _whole(path: Path) -> list[Any]:
    values = read_values(path)
    if not isinstance(values, list):
        raise AnnotationError(path, "-", "file", "is no list of records")
    return values


def _count(path: Path) -> int:
    return sum(1 for _ in filled_lines(path))


def filled_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, each with its number from 1.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _lines_at(path: Path, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    lines = enumerate(line for _, line in filled_lines(path))
    return ((index, line) for index, line in lines if index in wanted)


def _parsed(line: bytes) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(line.strip())
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        found = f", not {first['input']!r}" if first["type"] == "literal_error" else ""
        return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}{found}"
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON at column {error.colno}: {error.msg}"
    return str(error) or type(error).__name__
