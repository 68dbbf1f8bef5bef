"""Reading annotation files: JSON into validated records, every fault with file, record, field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from threedrs_platform.errors import AnnotationError

Score = Annotated[float, Field(strict=True, ge=-1e30, le=1e30, allow_inf_nan=False)]
"""Of a candidate: a cosine or a logit."""
Box = tuple[float, float, float, float, float, float]
FARTHEST_M = 1e6
"""No coordinate or size of a room's box is larger; anything else would overflow in float32."""
Metres = Annotated[float, Field(strict=True, ge=-FARTHEST_M, le=FARTHEST_M, allow_inf_nan=False)]
FiniteBox = tuple[Metres, Metres, Metres, Metres, Metres, Metres]
Corners = Annotated[list[tuple[Metres, Metres, Metres]], Field(min_length=2)]
"""Corner points of a box, in any order."""


def bare_scene(scene_id: str) -> str:
    """Scene id without the "scannet/" that processed files put before it."""
    return scene_id.removeprefix("scannet/")


def _whole_number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


SceneId = Annotated[str, StringConstraints(min_length=1), AfterValidator(bare_scene)]
Identifier = Annotated[str, BeforeValidator(_whole_number_as_text)]
"""An id some files write as a number and others as text."""


class Record(BaseModel):
    """Base of the record types of annotation files: keys nobody reads are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True)


R = TypeVar("R", bound=BaseModel)


def read_json(path: Path) -> Any:
    """The JSON value of a file.

    Raises:
        AnnotationError: the file is missing, empty or not JSON; says where it breaks off.
    """
    text = _read_text(path)
    if not text.strip():
        raise AnnotationError(path, "-", "file", "is empty; a JSON value is expected")
    return _json_value(text, path)


def read_lines(path: Path) -> list[Any]:
    """The JSON values of a JSON Lines file, blank lines left out.

    Raises:
        AnnotationError: the file is missing, or a line is not JSON; names the line.
    """
    return [
        _json_value(line, path, number)
        for number, line in enumerate(_read_text(path).split("\n"), start=1)
        if line.strip()
    ]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise AnnotationError(path, "-", "file", f"cannot be read: {reason}") from error


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def _json_value(text: str, path: Path, line: int | None = None) -> Any:
    """The value of a JSON text; half of a surrogate pair, no character, becomes U+FFFD."""
    place = "-" if line is None else f"line {line}"
    try:
        value = json.loads(text, object_pairs_hook=_object_with_distinct_keys)
        return _without_half_characters(value) if _ESCAPED_HALF.search(text) else value
    except json.JSONDecodeError as error:
        if line is None:
            place = f"line {error.lineno}, column {error.colno}"
        raise AnnotationError(path, place, "JSON", error.msg) from error
    except RecursionError as error:
        raise AnnotationError(path, place, "JSON", "is nested too deeply") from error
    except ValueError as error:  # a key twice, or an integer of more than 4,300 digits
        raise AnnotationError(path, place, "JSON", str(error)) from error


def _object_with_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two equal keys, and would lose a scene without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice in one object; keys must be unique")
    return found


def _without_half_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF_CHARACTER.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_half_characters(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_half_characters(name): _without_half_characters(item)
            for name, item in value.items()
        }
    return value


def read_table(path: Path) -> list[Any]:
    """The records of a JSON Lines or Parquet file."""
    if path.suffix != ".parquet":
        return read_lines(path)
    from pyarrow import ArrowException, parquet

    try:
        rows: list[Any] = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise AnnotationError(path, "-", "file", f"cannot be read as Parquet: {error}") from error
    return rows


def read_values(path: Path) -> Any:
    """The JSON value of a file, or the list of records of a JSON Lines or Parquet file."""
    return read_table(path) if path.suffix in (".jsonl", ".parquet") else read_json(path)


def parse_records(values: Any, record: type[R], file: Path | str) -> list[R]:
    """Validate a list of JSON objects as records.

    Raises:
        AnnotationError: not a list, an empty one, or the first faulty record and field.
    """
    if not isinstance(values, list):
        kind = type(values).__name__
        raise AnnotationError(file, "-", "file", f"holds a {kind}, a list of records is expected")
    if not values:
        raise AnnotationError(file, "-", "file", "holds no record")
    try:
        return TypeAdapter(list[record]).validate_python(values)  # type: ignore[valid-type]
    except ValidationError as error:
        raise annotation_error(error, file) from error


def annotation_error(
    error: ValidationError, file: Path | str, record: int | str | None = None
) -> AnnotationError:
    """The first fault pydantic found, and how many more there are.

    Args:
        error: of one record, or of a list of records if `record` is not given.
        file: where the records come from.
        record: which record was validated.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    # pydantic also lists its own validators, as "function-before[...]" or "tuple[...]".
    place = [str(part) for part in first["loc"] if "[" not in str(part)]
    if record is None:
        record = place.pop(0) if place else "-"
    more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
    reason = first["msg"].removeprefix("Value error, ")
    return AnnotationError(file, record, ".".join(place) or "record", f"{reason}{more}")


def refuse_repeats(ids: Iterable[str], file: Path | str) -> None:
    """Check that no id occurs twice.

    Raises:
        AnnotationError: names both records.
    """
    first_seen: dict[str, int] = {}
    for index, key in enumerate(ids):
        if key in first_seen:
            reason = f"{key!r} occurs twice, first in record {first_seen[key]}; ids must be unique"
            raise AnnotationError(file, index, "id", reason)
        first_seen[key] = index


def is_amount(text: str) -> bool:
    """Whether a text is a finite number, 0 or more."""
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False
