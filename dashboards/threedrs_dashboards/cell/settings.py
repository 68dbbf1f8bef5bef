"""A cell's configuration beside the baseline's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_platform.database.measurements import flatten


@dataclass(frozen=True)
class Setting:
    """One dotted setting."""

    path: str
    value: str
    """Empty where this cell does not have it."""
    baseline: str

    @property
    def differs(self) -> bool:
        """Whether the baseline has another value."""
        return self.value != self.baseline


def settings(params: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Setting]:
    """Every setting of either cell; first those of both that differ, then those of one alone."""
    mine, other = flatten(params), flatten(baseline)
    found = [
        Setting(path, _text(mine, path), _text(other, path))
        for path in dict.fromkeys([*mine, *other])
    ]
    return sorted(found, key=lambda each: (not each.differs, each.path not in mine.keys() & other))


def _text(flat: Mapping[str, Any], path: str) -> str:
    if path not in flat:
        return ""
    value = flat[path]
    return value if isinstance(value, str) else json.dumps(value)
