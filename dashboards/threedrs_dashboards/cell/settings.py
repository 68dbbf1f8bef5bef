"""A cell's configuration beside the baseline's."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_platform.database.measurements import flatten

DIFFERS, OF_ONE, IN_COMMON = (
    "Settings that differ",
    "Settings of parts that one of them lacks",
    "Settings in common",
)


@dataclass(frozen=True)
class Setting:
    """One dotted setting."""

    path: str
    value: str
    """Empty where this cell does not have it."""
    baseline: str

    is_told_first: bool = True
    """Whether both cells have it, or the grid names it: the rest comes with parts of one alone."""

    @property
    def group(self) -> str:
        """Under which heading it stands."""
        if self.value == self.baseline:
            return IN_COMMON
        return DIFFERS if self.is_told_first else OF_ONE


def settings(
    params: Mapping[str, Any], baseline: Mapping[str, Any], named: Collection[str] = ()
) -> dict[str, list[Setting]]:
    """Every setting of either cell, by group.

    Args:
        params: of the cell.
        baseline: of the cell compared with.
        named: settings that the grid names.
    """
    mine, other = flatten(params), flatten(baseline)
    groups: dict[str, list[Setting]] = {DIFFERS: [], OF_ONE: [], IN_COMMON: []}
    for path in dict.fromkeys([*mine, *other]):
        is_first = path in named or (path in mine and path in other)
        found = Setting(path, _text(mine, path), _text(other, path), is_first)
        groups[found.group].append(found)
    return groups


def _text(flat: Mapping[str, Any], path: str) -> str:
    if path not in flat:
        return ""
    value = flat[path]
    return value if isinstance(value, str) else json.dumps(value)
