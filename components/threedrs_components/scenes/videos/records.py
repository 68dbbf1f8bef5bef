"""Records to learn from that bring images of their own: which are drawn, and what they hold."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from threedrs_components.record_files import read_values
from threedrs_components.scenes.scene_names import inside
from threedrs_components.scenes.videos.marks import marks_of
from threedrs_platform.errors import AnnotationError, DataError

SetName = Literal["spar", "llava_hound"]
PLACEHOLDERS = ("<image>", "<video>")


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


class _Turn(BaseModel):
    speaker: Literal["human", "gpt", "system"] = Field(alias="from")
    value: str


class _Raw(BaseModel):
    """What is read of a record."""

    conversations: list[_Turn]
    images: list[str] | None = None
    image: list[str] | str | None = None
    video: str | None = None
    spar_info: str | None = None


@dataclass
class Drawn:
    """The records that were drawn from a file."""

    total: int
    """Records of the file."""
    good: list[TrainingRecord] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    """Place in the file -> what is wrong with it."""


def draw_records(name: SetName, path: Path, share: float, chance: random.Random) -> Drawn:
    """A share of the records of a file, chosen as VG-LLM chooses; scene ids count its records.

    Args:
        name: of the set.
        path: JSON Lines, a JSON list, or Parquet.
        share: of the records; 1 takes all.
        chance: `random.Random(0)`; the sets of one training share it, in their order.

    Raises:
        AnnotationError: the file is no such file, or holds no record.
    """
    lines = path.suffix == ".jsonl"
    values = None if lines else _whole(path)
    total = _count(path) if values is None else len(values)
    if not total:
        raise AnnotationError(path, "-", "file", "holds no record")
    wanted = range(total) if share == 1 else sorted(chance.sample(range(total), int(total * share)))
    drawn = Drawn(total)
    # One line at a time: the file has eight million, and 3 % of them are wanted.
    found = _lines_at(path, set(wanted)) if values is None else ((at, values[at]) for at in wanted)
    for index, value in found:
        try:
            drawn.good.append(_record(f"{name}_{index:07d}", value))
        except (ValueError, RecursionError) as error:
            drawn.bad[index] = _reason(error)
    return drawn


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


def _record(name: str, value: Any) -> TrainingRecord:
    raw = _Raw.model_validate(value if not isinstance(value, bytes) else _parsed(value))
    turns = raw.conversations
    while turns and turns[0].speaker != "human":
        turns = turns[1:]
    if len(turns) < 2 or turns[1].speaker != "gpt":
        raise ValueError("conversations: a human turn and then a gpt turn are needed")
    images = raw.images or ([raw.image] if isinstance(raw.image, str) else raw.image) or []
    if not images and not raw.video:
        raise ValueError("images: there are none, and no video")
    for each in images or [raw.video or ""]:
        inside(Path(), each)
    if raw.spar_info and images:
        marks_of(raw.spar_info, len(images))
    return TrainingRecord(
        id=name,
        question=_without_placeholders(turns[0].value),
        answer=turns[1].value,
        images=tuple(images),
        video="" if images else (raw.video or ""),
        question_type=_type_of(raw.spar_info),
        marks=raw.spar_info or "",
    )


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
    return sum(1 for _ in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that are not blank."""
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _lines_at(path: Path, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    return ((index, line) for index, line in enumerate(_lines(path)) if index in wanted)


def _parsed(line: bytes) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(line)
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
    return str(error) or type(error).__name__
