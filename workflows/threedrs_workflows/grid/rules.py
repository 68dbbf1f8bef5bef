"""Entries of exclude, override and irrelevant: which cells they match, and whether any at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_platform.config.faults import shown
from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.grid.axes import PathFault
from threedrs_workflows.grid.where import Where, parse_where, same

ValueOf = Callable[[str], Any]
"""Value of a setting in one cell; None for one that the cell lacks."""


@dataclass(frozen=True)
class Rule:
    """A condition on cells: all `match` values and the `where` expression hold."""

    at: KeyPath
    """Where the entry stands in the grid file."""
    match: Mapping[str, Any]
    """Setting to value; a list means any of its items."""
    match_at: KeyPath
    where: Where | None
    allow_empty: bool

    def applies(self, value_of: ValueOf) -> bool:
        """Whether a cell matches.

        Raises:
            ConfigError: `where` compares what cannot be compared.
        """
        listed = all(_any_of(value, value_of(path)) for path, value in self.match.items())
        return listed and (self.where is None or self.where.holds(value_of))


@dataclass(frozen=True)
class RuleBook:
    """Reads the conditions of one grid file."""

    document: Document
    known: Sequence[str]
    """Settings that `where` may name."""
    path_fault: PathFault

    def read(
        self,
        at: KeyPath,
        match: Mapping[str, Any],
        where: Any,
        allow_empty: bool,
        match_at: KeyPath | None = None,
    ) -> tuple[Rule | None, list[Fault]]:
        """A rule, or the faults in it."""
        match_at = at if match_at is None else match_at
        faults = [
            self.document.fault(message, (*match_at, path), of_key=True)
            for path in match
            if (message := self.path_fault(path))
        ]
        if not match and where is None:
            faults.append(self.document.fault("needs a setting to match, or `where`", at))
        condition = None
        if where is not None and not isinstance(where, str):
            message = f"expected an expression as text, got {shown(where)}"
            faults.append(self.document.fault(message, (*at, "where")))
        elif where is not None:
            try:
                condition = parse_where(where, self.known)
            except ConfigError as error:
                faults += [place_in_where(f, self.document, (*at, "where")) for f in error.faults]
        rule = Rule(at, match, match_at, condition, allow_empty)
        return (None, faults) if faults else (rule, [])

    def matches(
        self, rule: Rule, cells: Sequence[ValueOf], *, certain: bool
    ) -> tuple[list[bool], list[Fault]]:
        """Which cells a rule matches; a fault when it is none, or a listed value is in none.

        Args:
            rule: the rule.
            cells: value lookups of all cells.
            certain: False when faults elsewhere have taken cells away, so that none may be missed.
        """
        try:
            flags = [rule.applies(value_of) for value_of in cells]
        except ConfigError as error:
            at = (*rule.at, "where")
            return [False] * len(cells), [
                place_in_where(fault, self.document, at) for fault in error.faults
            ]
        if rule.allow_empty or not certain:
            return flags, []
        return flags, self._dangling(rule, flags, cells)

    def _dangling(self, rule: Rule, flags: Sequence[bool], cells: Sequence[ValueOf]) -> list[Fault]:
        faults = []
        for path, listed in rule.match.items():
            taken = [value_of(path) for value_of in cells]
            for value, at in _alternatives(listed, taken, (*rule.match_at, path)):
                if not any(_any_of(value, other) for other in taken):
                    values = sorted({_plain(other) for other in taken})
                    hint = did_you_mean(_plain(value), values)
                    message = f"no cell has {path} = {shown(value)}{hint}"
                    faults.append(self.document.fault(message, at))
        if not faults and not any(flags):
            message = "matches no cell; remove it, or mark it with allow_empty: true"
            faults.append(self.document.fault(message, rule.at))
        return faults


def place_in_where(fault: Fault, document: Document, at: KeyPath) -> Fault:
    """A fault of an expression, placed where the expression stands in the file."""
    place = document.place(at)
    lines = document.text.splitlines()
    text: Any = document.data
    for part in at:
        text = text[part]
    column = place.column
    if place.line is not None and place.column is not None and place.line <= len(lines):
        found = lines[place.line - 1].find(str(text), place.column - 1)
        if found >= 0:
            column = found + (fault.column or 1)
    path = document.fault("", at).path
    return Fault(fault.message, path, place.file, place.line, column)


def _any_of(wanted: Any, value: Any) -> bool:
    """Equal, or one of the listed values where a list is wanted."""
    if same(wanted, value):
        return True
    return isinstance(wanted, list) and any(same(item, value) for item in wanted)


def _alternatives(listed: Any, taken: Sequence[Any], at: KeyPath) -> list[tuple[Any, KeyPath]]:
    whole = not isinstance(listed, list) or any(same(listed, value) for value in taken)
    if whole:
        return [(listed, at)]
    return [(item, (*at, index)) for index, item in enumerate(listed)]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
