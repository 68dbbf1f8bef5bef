"""The base of every configuration class: frozen, typed, unknown keys refused.

A setting that changes no result says so on its field, and stays out of identities:

    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100     # how the work is done
    checkpoint: Annotated[str | None, PLACE] = None             # where data lie
    sees: Annotated[Literal["3d"], REPORTED] = "3d"             # what reports say of it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict


class Effectless:
    """A mark on a field that decides how or from where a result comes, or what is said of it: never
    which it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


CONDUCT: Final = Effectless("CONDUCT")
"""How work is done: checkpoint intervals, workers, how a batch is spread."""
PLACE: Final = Effectless("PLACE")
"""Where data lie. Their content counts, and stands in the identity as a digest."""
REPORTED: Final = Effectless("REPORTED")
"""What is said of a component. Reports judge by it, no step reads it."""
LATER: Final = Effectless("LATER")
"""A setting that there was not always. At its default it is no part of an identity, so that what
was made before keeps its key; at any other value it decides numbers."""


class Config(BaseModel):
    """Base of every configuration class."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical(self, without: Collection[Effectless] = ()) -> dict[str, Any]:
        """JSON-ready values of every field, spelled-out defaults included.

        Args:
            without: leave out fields that carry one of these marks, however deep; with LATER those
                that have their default.
        """
        data = self.model_dump(mode="json")
        if without:
            for owner, name in list(_marked(self, data, without)):
                del owner[name]
        return data

    def identity(self) -> dict[str, Any]:
        """What of it decides numbers: everything but conduct, places, what is only reported, and
        later settings at their defaults."""
        return self.canonical(without=(CONDUCT, PLACE, REPORTED, LATER))

    def remainder(self) -> dict[str, Any]:
        """What `identity` leaves out, in the same shape; `merged` puts the two together again."""
        return dict(_difference(self.canonical(), self.identity()))

    def fingerprint(self) -> str:
        """First 12 hex digits of the sha256 of what decides numbers."""
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _marked(
    value: Any, data: Any, marks: Collection[Effectless]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Every field with a mark, as the mapping that holds its JSON value and its name."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            carried = [mark for mark in marks if mark in field.metadata]
            if carried and (carried != [LATER] or getattr(value, name) == field.default):
                yield data, name
            else:
                yield from _marked(getattr(value, name), data[name], marks)
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _marked(below, data[name], marks)
    elif isinstance(value, list | tuple):
        for below, written in zip(value, data, strict=True):
            yield from _marked(below, written, marks)


def merged(identity: Any, remainder: Any) -> Any:
    """JSON values of a configuration from its identity and its remainder."""
    if isinstance(identity, Mapping) and isinstance(remainder, Mapping):
        both = identity.keys() & remainder.keys()
        return {**identity, **remainder, **{k: merged(identity[k], remainder[k]) for k in both}}
    if isinstance(identity, list) and isinstance(remainder, list):
        return [merged(*pair) for pair in zip(identity, remainder, strict=True)]
    return identity if remainder is None else remainder


def _difference(whole: Any, part: Any) -> Any:
    """What `whole` has and `part` has not; None where nothing is missing from a value."""
    if isinstance(whole, dict):
        missing = {
            key: _difference(below, part[key]) if key in part else below
            for key, below in whole.items()
        }
        return {k: each for k, each in missing.items() if k not in part or each not in (None, {})}
    if isinstance(whole, list) and any(isinstance(each, dict | list) for each in whole):
        return [_difference(*pair) for pair in zip(whole, part, strict=True)]
    return None
