"""From data to configuration objects: every fault at once, in plain words, with its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from threedrs_platform.config.paths import (
    FieldInData,
    follow,
    kinds_of,
    of_other_kinds,
    switches_for_numbers,
)
from threedrs_platform.config.strict_yaml import Document, KeyPath, Place, dotted
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault

Model = TypeVar("Model", bound=BaseModel)
Locate = Callable[[KeyPath, bool], Place]
"""Place of the value at a path, or of its key when the flag is set."""


def validate(
    config: type[Model], data: Any, document: Document | None = None, prefix: KeyPath = ()
) -> Model:
    """Build a configuration object from plain data.

    Args:
        config: the class at the top.
        data: plain YAML or JSON data.
        document: where the data was written, for places in messages.
        prefix: path of the data inside the document.

    Raises:
        ConfigError: lists all faults.
    """

    def locate(path: KeyPath, of_key: bool) -> Place:
        return document.place((*prefix, *path), of_key=of_key) if document else Place("")

    built, faults = build(config, data, locate, prefix)
    if built is None:
        raise ConfigError(faults)
    return built


def build(
    config: type[Model], data: Any, locate: Locate, prefix: KeyPath = ()
) -> tuple[Model | None, list[Fault]]:
    """As `validate`, but returns the faults; the object is None when there are any."""
    faults = [_switch(path, locate, prefix) for path in switches_for_numbers(config, data)]
    try:
        built = config.model_validate(data)
    except ValidationError as error:
        faults += [_fault(config, each, locate, prefix) for each in _own_faults(error.errors())]
        return None, _alternatives_joined(dict.fromkeys(faults))
    return (None, faults) if faults else (built, [])


def _switch(path: KeyPath, locate: Locate, prefix: KeyPath) -> Fault:
    place = locate(path, False)
    message = "expected a number, got true or false"
    return Fault(message, dotted((*prefix, *path)), place.file, place.line, place.column)


def _own_faults(details: Sequence[Any]) -> list[Any]:
    """Without "too few items" of a list whose items are faulty: pydantic does not count those."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(_is_within(place, detail["loc"]) for place in places)
    ]


def _alternatives_joined(faults: Iterable[Fault]) -> list[Fault]:
    """What may be one thing or another is one fault, not one for each."""
    joined: list[Fault] = []
    for fault in faults:
        known = joined[-1] if joined else fault
        wanted, got, _ = known.message.partition(", got ")
        other, other_got, value = fault.message.partition(", got ")
        alike = replace(known, message="") == replace(fault, message="")
        if joined and alike and got and other_got and other.startswith(EXPECTED):
            message = f"{wanted}, or {other.removeprefix(EXPECTED)}{got}{value}"
            joined[-1] = replace(known, message=message)
        else:
            joined.append(fault)
    return joined


def _is_within(place: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
    return len(place) > len(whole) and place[: len(whole)] == whole


EXPECTED = "expected "
_KEY = "[key]"
"""How pydantic ends the location of a faulty key of a table."""


def _fault(config: type[BaseModel], detail: Any, locate: Locate, prefix: KeyPath) -> Fault:
    location, kind = detail["loc"], detail["type"]
    of_key = location[-1:] == (_KEY,) or kind == "extra_forbidden"
    spot = follow(config, tuple(part for part in location if part != _KEY))
    path = spot.path
    if kind == "extra_forbidden":
        message = f"unknown key {path[-1]!r}" + _instead(config, spot, detail)
    elif kind.startswith("union_tag"):
        message = _wrong_kind(detail, kinds_of(config, path))
        path = (*path, "kind") if kind == "union_tag_invalid" else path
    else:
        message = _message(kind, detail)
    place = locate(path, of_key)
    return Fault(message, dotted((*prefix, *path)), place.file, place.line, place.column)


def _instead(config: type[BaseModel], spot: FieldInData, detail: Any) -> str:
    """What else a key of no field may mean: that of another kind, or the nearest one."""
    tags = [*(Counter(detail["loc"]) - Counter(spot.path)).elements()]  # of unions on the way
    around = {"kind": tags[-1]} if tags else None
    own = () if spot.owner is None else spot.owner.model_fields
    return of_other_kinds(config, spot.path, around) or did_you_mean(str(spot.path[-1]), own)


def _wrong_kind(detail: Any, kinds: list[str]) -> str:
    listed = f"known kinds: {', '.join(kinds)}"
    if detail["type"] == "union_tag_not_found":
        return f"missing `kind`; {listed}"
    tag = str(detail["ctx"]["tag"])
    near = did_you_mean(tag, kinds)
    return f"unknown kind {tag!r}{near if 'mean' in near else ''}; {listed}".replace("?;", "?")


_WHOLE_NUMBER, _NUMBER, _BOOLEAN = "a whole number", "a number", "true or false"
_MAPPING, _LIST, _TEXT = "a mapping (`key: value`)", "a list", "text"
_EXPECTED = {
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing_size": "a whole number of reasonable size",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "string_type": _TEXT,
    "path_type": "a path",
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dataclass_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "none_required": "null",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "at least {min_length} item(s)",
    "too_long": "at most {max_length} item(s)",
    "string_too_short": "text of at least {min_length} character(s)",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
    "literal_error": "{expected}",
}


def _message(kind: str, detail: Any) -> str:
    context = detail.get("ctx", {})
    if kind == "missing":
        return "missing, and it has no default"
    if "error" in context:
        return str(context["error"])
    if kind not in _EXPECTED:
        return f"{detail['msg'].removeprefix('Value error, ')}, got {shown(detail['input'])}"
    message = f"expected {_EXPECTED[kind].format_map(context)}, got {shown(detail['input'])}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context["expected"]))
        near = did_you_mean(str(detail["input"]), choices)
        message += near if "mean" in near else ""
    return message


def shown(value: Any) -> str:
    """A value as one would write it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
