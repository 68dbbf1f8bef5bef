"""Tables for narrow terminals: several below each other rather than columns of broken words."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Sequence

from threedrs_components.report.sheets import Sheet

NARROWEST_CELL = 26
"""Prose is folded to so many characters, numbers with their interval are not folded at all."""
NARROWEST_HEAD = 20
BESIDE = 3
"""Characters of padding and rule that a column takes beside its text."""


def fitting(sheet: Sheet, width: int) -> list[Sheet]:
    """The sheet, or its columns spread over several sheets that each fit and repeat the first.

    Args:
        sheet: any table.
        width: columns of the terminal.
    """
    natural = [max(map(len, column)) for column in _columns(sheet)]
    if _taken(natural) <= width:
        return [sheet]
    sheet = dataclasses.replace(sheet, header=tuple(map(_folded_head, sheet.header)))
    needs = [_need(column) for column in _columns(sheet)]
    groups: list[list[int]] = [[0]]
    for column in range(1, len(needs)):
        taken = _taken([needs[each] for each in (*groups[-1], column)])
        if len(groups[-1]) > 1 and taken > width:
            groups.append([0])
        groups[-1].append(column)
    return [_chosen(sheet, group) for group in groups]


def _columns(sheet: Sheet) -> list[tuple[str, ...]]:
    return list(zip(sheet.header, *sheet.rows, strict=True))


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + BESIDE * len(widths) + 1


def _need(column: Sequence[str]) -> int:
    """Width at which a column is still easy to read."""
    head, *cells = column
    lines = [line for cell in cells for line in textwrap.wrap(cell, NARROWEST_CELL)]
    return max(map(len, (*head.split("\n"), *lines)))


def _folded_head(name: str) -> str:
    """A long name on several lines, broken after punctuation."""
    lines = [""]
    for piece in re.split(r"(?<=[\s,/=])|(?<=\.)(?=[a-z])", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > NARROWEST_HEAD:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _chosen(sheet: Sheet, group: Sequence[int]) -> Sheet:
    """The sheet with these of its columns."""
    rows = tuple(tuple(row[column] for column in group) for row in sheet.rows)
    best = frozenset((row, group.index(at)) for row, at in sheet.best if at in group)
    header = tuple(sheet.header[column] for column in group)
    return dataclasses.replace(sheet, header=header, rows=rows, best=best)
