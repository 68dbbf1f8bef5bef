"""One text per JSON value, so that equal values have equal hashes."""

from __future__ import annotations

import json
from functools import lru_cache

from threedrs_platform.steps import JSON

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: JSON) -> str:
    """One text per value: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: the value holds something that is not JSON, so it has no identity.
        ValueError: the value holds NaN or an infinity.
    """
    return _CANONICAL.encode(value)


class Fragments:
    """Canonical JSON of values that many recipes share, by the values themselves: made once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, JSON, JSON]] = {}

    def of(self, value: JSON) -> tuple[str, JSON]:
        """A value's canonical JSON, and the value as it comes back from there.

        Raises:
            TypeError, ValueError: it has no canonical form.
        """
        if type(value) is str:
            return word(value), value
        if not isinstance(value, dict | list):
            text = canonical_json(value)
            return text, json.loads(text)
        known = self._known.get(id(value))
        if known is None:
            text = canonical_json(value)
            # With the value itself: an id names an object only while it lives.
            known = self._known[id(value)] = (text, json.loads(text), value)
        return known[0], known[1]


@lru_cache(maxsize=4096)
def word(text: str) -> str:
    """Canonical JSON of a text of which there are few."""
    return canonical_json(text)


def quoted(digest: str) -> str:
    """As `canonical_json`, for texts of which there are too many to remember them."""
    return f'"{digest}"' if digest.isascii() and digest.isalnum() else canonical_json(digest)
