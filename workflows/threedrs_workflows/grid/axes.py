"""From matrix, zip and ablate to assignments: which settings a cell changes, and to what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from threedrs_platform.config.faults import shown
from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.suggestions import did_you_mean, nearest_path
from threedrs_platform.errors import Fault
from threedrs_workflows.grid.file import ReadGrid, Setting
from threedrs_workflows.grid.where import same

MAX_RANGE = 10_000
"""Values that one range may have."""

PathFault = Callable[[str], str | None]
"""Why a dotted name is no setting; None when it is one."""


@dataclass(frozen=True)
class Choice:
    """A value for one setting, and where it was written."""

    path: str
    value: Any
    document: Document
    at: KeyPath

    @cached_property
    def told(self) -> tuple[str, str]:
        """What is chosen, wherever it was written."""
        return self.path, repr(self.value)

    @cached_property
    def section(self) -> str:
        """First part of its path."""
        return self.path.partition(".")[0]


Assignment = Mapping[str, Choice]
"""Choices by setting."""


@dataclass(frozen=True)
class Dimension:
    """Assignments of which a cell takes one."""

    name: str
    points: tuple[Assignment, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The settings it changes."""
        return tuple(self.points[0]) if self.points else ()


@dataclass(frozen=True)
class Axes:
    """All dimensions of a grid, and what was wrong with them."""

    crossed: tuple[Dimension, ...]
    """Matrix axes and zips, in order of their names."""
    factors: Mapping[str, Dimension]
    pairs: tuple[tuple[str, str], ...]
    added: tuple[Dimension, ...]
    """Axes that only the command line has: they multiply the whole grid."""
    faults: tuple[Fault, ...]

    def count(self) -> int:
        """Cells before any exclusion, without building them."""
        crossed = math.prod(len(dimension.points) for dimension in self.crossed)
        added = math.prod(len(dimension.points) for dimension in self.added)
        return added * (crossed + sum(1 for _ in self._ablated()))

    def assignments(self) -> Iterator[Assignment]:
        """Matrix times zip, then the base with one factor changed, then the chosen pairs."""
        for points in itertools.product(*(dimension.points for dimension in self.crossed)):
            yield from self.multiplied(_joined(points))
        for assignment in self._ablated():
            yield from self.multiplied(assignment)

    def multiplied(self, assignment: Assignment) -> Iterator[Assignment]:
        """An assignment with every combination of the added axes; its own choices prevail."""
        for points in itertools.product(*(dimension.points for dimension in self.added)):
            yield _joined([*points, assignment])

    def _ablated(self) -> Iterator[Assignment]:
        if self.factors or self.pairs:
            yield {}
        for name in sorted(self.factors):
            yield from self.factors[name].points
        sources = {d.name: d for d in self.crossed} | dict(self.factors)
        for pair in self.pairs:
            for points in itertools.product(*(sources[name].points for name in pair)):
                yield _joined(points)


def read_axes(grid: ReadGrid, path_fault: PathFault) -> Axes:
    """Dimensions of a grid file, with the `--set` flags that give more than one value."""
    reader = _Reader(grid, path_fault)
    matrix = reader.table(grid.file.matrix, ("matrix",))
    factors = reader.table(grid.file.ablate.factors, ("ablate", "factors"))
    zips = reader.zips(grid.file.zip)
    added = [
        dimension
        for setting in grid.settings
        if setting.path != "seeds"
        and (dimension := reader.apply(setting, matrix, factors, zips)) is not None
    ]
    crossed = [*matrix.values(), *zips]
    reader.refuse_shared_settings(crossed)
    pairs = reader.pairs(grid.file.ablate.pairs, {**matrix, **factors})
    crossed.sort(key=lambda dimension: dimension.name)
    return Axes(tuple(crossed), factors, pairs, tuple(added), tuple(reader.faults))


def _joined(points: Iterable[Assignment]) -> Assignment:
    return {path: choice for point in points for path, choice in point.items()}


class _Reader:
    """Reads dimensions, collecting faults."""

    def __init__(self, grid: ReadGrid, path_fault: PathFault) -> None:
        self.document = grid.document
        self.path_fault = path_fault
        self.faults: list[Fault] = []

    def refuse(self, message: str, at: KeyPath, *, of_key: bool = False) -> None:
        self.faults.append(self.document.fault(message, at, of_key=of_key))

    def table(self, raw: Mapping[str, Any], at: KeyPath) -> dict[str, Dimension]:
        """One dimension per key."""
        found = {}
        for path, values in sorted(raw.items()):
            choices = self.values(path, values, (*at, path))
            if choices:
                found[path] = Dimension(path, tuple({path: choice} for choice in choices))
        return found

    def zips(self, raw: Mapping[str, Mapping[str, Any]]) -> list[Dimension]:
        """One dimension per name, its settings changing together."""
        found = []
        for name, table in sorted(raw.items()):
            at = ("zip", name)
            columns = {
                path: choices
                for path, values in sorted(table.items())
                if (choices := self.values(path, values, (*at, path), unique=False))
            }
            lengths = {path: len(choices) for path, choices in columns.items()}
            if len(set(lengths.values())) > 1:
                listed = ", ".join(f"{path} has {count}" for path, count in lengths.items())
                self.refuse(f"settings of one zip need equally many values: {listed}", at)
            elif columns:
                rows = zip(*columns.values(), strict=True)
                points = tuple(dict(zip(columns, row, strict=True)) for row in rows)
                found.append(Dimension(name, points))
            elif not table:
                self.refuse("a zip needs settings with their values", at)
        return found

    def values(
        self, path: str, raw: Any, at: KeyPath, *, unique: bool = True
    ) -> list[Choice] | None:
        """The values of one axis; None, and a fault, when it is none."""
        if not self.known(path, at):
            return None
        values, places = self._listed(raw, at)
        if values is None:
            return None
        if not values:
            self.refuse("no values: list at least one", at)
        for index, value in enumerate(values) if unique else ():
            if any(same(value, other) for other in values[:index]):
                self.refuse(f"{shown(value)} is listed twice", places[index])
        return [
            Choice(path, value, self.document, place)
            for value, place in zip(values, places, strict=True)
        ]

    def known(self, path: str, at: KeyPath) -> bool:
        """Whether an axis has the name of a setting."""
        if path in ("seed", "seeds"):
            self.refuse("seeds are replicates, no axis: list them under `seeds:`", at, of_key=True)
            return False
        message = self.path_fault(path)
        if message:
            self.refuse(message, at, of_key=True)
        return message is None

    def _listed(self, raw: Any, at: KeyPath) -> tuple[list[Any] | None, list[KeyPath]]:
        if isinstance(raw, Mapping) and set(raw) == {"values"}:
            raw, at = raw["values"], (*at, "values")
        if isinstance(raw, list):
            return raw, [(*at, index) for index in range(len(raw))]
        if isinstance(raw, Mapping) and set(raw) == {"range"}:
            at = (*at, "range")
            try:
                values = inclusive_range(raw["range"])
            except ValueError as error:
                self.refuse(str(error), at)
                return None, []
            return values, [at] * len(values)
        form = "[a, b], {values: [a, b]} or {range: [first, last, step]}"
        self.refuse(f"expected several values as {form}, got {shown(raw)}", at)
        return None, []

    def apply(
        self,
        setting: Setting,
        matrix: dict[str, Dimension],
        factors: dict[str, Dimension],
        zips: list[Dimension],
    ) -> Dimension | None:
        """Let a `--set` flag replace an axis where it stands, or else return it as an added one.

        A single value changes the base, so that it only removes an axis.
        """
        path = setting.path
        message = self.path_fault(path)
        zipped = [dimension.name for dimension in zips if path in dimension.paths]
        if zipped:
            message = f"{path} belongs to the zip {zipped[0]!r}; change it in the file"
        if message:
            self.faults.append(Fault(message, path, setting.document.file))
            return None
        homes = [table for table in (matrix, factors) if table.pop(path, None) is not None]
        if len(setting.values) == 1:
            return None
        choices = [Choice(path, value, setting.document, ()) for value in setting.values]
        dimension = Dimension(path, tuple({path: choice} for choice in choices))
        for table in homes:
            table[path] = dimension
        return None if homes else dimension

    def refuse_shared_settings(self, dimensions: Iterable[Dimension]) -> None:
        """No setting may be changed by two dimensions that are multiplied."""
        owners: dict[str, Choice] = {}
        for dimension in dimensions:
            for path in dimension.paths:
                choice = dimension.points[0][path]
                for other, first in owners.items():
                    if path == other or f"{path}.".startswith(f"{other}."):
                        place = first.document.place(first.at[:-1])
                        self.refuse(
                            f"{path} is set by two dimensions (also in line {place.line})",
                            choice.at[:-1],
                            of_key=True,
                        )
                owners[path] = choice

    def pairs(
        self, raw: Iterable[tuple[str, str]], sources: Mapping[str, Dimension]
    ) -> tuple[tuple[str, str], ...]:
        """Pairs of factors (or matrix axes) whose names are known."""
        found = []
        for index, pair in enumerate(raw):
            at = ("ablate", "pairs", index)
            wrong = [name for name in pair if name not in sources]
            for name in wrong:
                hint = nearest_path(name, sources) or did_you_mean(name, sources)
                self.refuse(f"{name!r} is no factor and no matrix axis{hint}", at)
            if pair[0] == pair[1]:
                self.refuse(f"a pair needs two different factors, got {pair[0]} twice", at)
            elif not wrong:
                found.append(pair)
        return tuple(found)


def inclusive_range(raw: Any) -> list[int | float]:
    """Values from first to last, both included, a step apart.

    Raises:
        ValueError: not [first, last, step], a step that never arrives, or far too many values.
    """
    numbers = raw if isinstance(raw, list) else []
    if len(numbers) != 3 or not all(
        isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers
    ):
        raise ValueError(f"expected [first, last, step] as three numbers, got {shown(raw)}")
    first, last, step = (Decimal(str(number)) for number in numbers)
    if step == 0 or (last - first) / step < 0:
        raise ValueError(f"a step of {numbers[2]} never leads from {numbers[0]} to {numbers[1]}")
    count = int((last - first) / step) + 1
    if count > MAX_RANGE:
        raise ValueError(f"{count} values; a range may have {MAX_RANGE}")
    whole = all(isinstance(number, int) for number in numbers)
    return [int(v) if whole else float(v) for v in (first + i * step for i in range(count))]
