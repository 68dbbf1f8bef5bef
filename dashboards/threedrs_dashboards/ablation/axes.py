"""What the cells of a run differ in: settings with more than one value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_components.report.table import Row

ABSENT = "-"
"""Value of a setting that a cell does not have."""
_NAMED = re.compile(r"(?:^|,)([A-Za-z_][\w.]*)=")
"""A setting in the name that a grid gives a cell: `teacher=vggt,alignment.layers=[2]`."""


@dataclass(frozen=True)
class Axis:
    """One setting."""

    path: str
    values: tuple[str, ...]
    """Its values in grid order, as text."""


@dataclass(frozen=True)
class Axes:
    """The settings in which a run's cells differ, those that the grid names first."""

    axes: tuple[Axis, ...]
    of_cell: Mapping[str, Mapping[str, str]]
    """Cell id -> setting -> value."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(axis.path for axis in self.axes)

    def value(self, cell_id: str, path: str) -> str:
        """A cell's value of a setting."""
        return self.of_cell[cell_id].get(path, ABSENT)


def named_paths(name: str) -> list[str]:
    """The settings in the name that a grid gives a cell."""
    return _NAMED.findall(name)


def find_axes(rows: Sequence[Row]) -> Axes:
    """Compare the parameters of all cells.

    Settings that some cells do not have at all (those of a teacher that they do not use) are no
    axes, unless the grid names them.
    """
    flat = {row.cell_id: row.replicates[0].settings for row in rows}
    named = [path for row in rows for path in named_paths(row.replicates[0].name)]
    shared = set.intersection(*(set(each) for each in flat.values())) if flat else set[str]()
    first = next(iter(flat.values()), {})
    paths = dict.fromkeys([*named, *(path for path in first if path in shared)])
    axes, of_cell = [], {cell_id: dict[str, str]() for cell_id in flat}
    for path in paths:
        if _are_one([each.get(path, ABSENT) for each in flat.values()]):
            continue
        texts = {cell_id: value_text(each, path) for cell_id, each in flat.items()}
        values = tuple(dict.fromkeys(texts.values()))
        if len(values) > 1:
            axes.append(Axis(path, values))
            for cell_id, text in texts.items():
                of_cell[cell_id][path] = text
    return Axes(tuple(axes), of_cell)


def _are_one(values: Sequence[Any]) -> bool:
    """Whether all are the same word or number, as those of most settings are."""
    first = values[0]
    plain = not isinstance(first, (list, Mapping))
    return plain and all(type(each) is type(first) and each == first for each in values)


def value_text(flat: Mapping[str, Any], path: str) -> str:
    """A value as people write it."""
    if path not in flat:
        return ABSENT
    value = flat[path]
    return value if isinstance(value, str) else json.dumps(value)
