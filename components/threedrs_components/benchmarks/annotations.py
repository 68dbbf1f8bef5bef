"""Annotation records: JSON values into validated records, every fault with file, record, field."""

from __future__ import annotations

import math
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

from threedrs_components.scenes.boxes import FARTHEST_M, SCENE_PREFIX
from threedrs_components.scenes.scene_names import inside
from threedrs_platform.errors import AnnotationError

Score = Annotated[float, Field(strict=True, ge=-1e30, le=1e30, allow_inf_nan=False)]
"""Of a candidate: a cosine or a logit."""
Box = tuple[float, float, float, float, float, float]
Metres = Annotated[float, Field(strict=True, ge=-FARTHEST_M, le=FARTHEST_M, allow_inf_nan=False)]
FiniteBox = tuple[Metres, Metres, Metres, Metres, Metres, Metres]
Corners = Annotated[list[tuple[Metres, Metres, Metres]], Field(min_length=2)]
"""Corner points of a box, in any order."""


def bare_scene(scene_id: str) -> str:
    """Scene id without the "scannet/" that processed files put before it."""
    return scene_id.removeprefix(SCENE_PREFIX)


def scene_inside(scene_id: str) -> str:
    """As `bare_scene`, of a scene whose files will be looked for.

    Raises:
        ValueError: it would lead out of the folder of scenes.
    """
    bare = bare_scene(scene_id)
    inside(Path(), bare)
    return bare


def _whole_number_as_text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of a column with holes
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


SceneId = Annotated[str, StringConstraints(min_length=1), AfterValidator(scene_inside)]
Identifier = Annotated[str, BeforeValidator(_whole_number_as_text)]
"""An id some files write as a number and others as text."""


class Record(BaseModel):
    """Base of the record types of annotation files: keys nobody reads are let pass."""

    model_config = ConfigDict(extra="ignore", frozen=True)


R = TypeVar("R", bound=BaseModel)


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
