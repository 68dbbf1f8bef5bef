"""The order of cells: in a big grid every pair of values of two axes comes early."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from threedrs_platform.steps import Cell

FEW_CELLS = 24
"""Grids of so many cells or fewer keep the order of their file."""
MOST_CELLS = 2000
MOST_AXES = 10

Pair = tuple[int, int, str, str]


def covering_order(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one seed after those of another. A fault of two values that do not go together
    shows in the first part of the work, and the first table already has all main effects.
    """
    by_seed: dict[int, list[Cell]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell)
    return [cell for group in by_seed.values() for cell in _covering(group)]


def _covering(cells: list[Cell]) -> list[Cell]:
    if not FEW_CELLS < len(cells) <= MOST_CELLS:
        return cells
    rows = list(zip(*_axes(cells), strict=True))
    if not rows or not 2 <= len(rows[0]) <= MOST_AXES:
        return cells
    pairs = [_pairs(row) for row in rows]
    missing = set().union(*pairs)
    left = dict.fromkeys(range(len(cells)))
    order: list[int] = []
    while missing and left:
        # The first of the best: the file's first cell stays the first.
        best = max(left, key=lambda index: len(pairs[index] & missing)) if order else 0
        order.append(best)
        missing -= pairs[best]
        del left[best]
    return [cells[index] for index in [*order, *left]]


def _pairs(row: Sequence[str]) -> set[Pair]:
    return {(a, b, row[a], row[b]) for a, b in combinations(range(len(row)), 2)}


def _axes(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Values per cell of each setting that varies; settings that vary together count once."""
    flat = [dict(_leaves(cell.params)) for cell in cells]
    names = dict.fromkeys(name for values in flat for name in values if name != "seed")
    found: dict[tuple[int, ...], tuple[str, ...]] = {}
    for name in names:
        values = tuple(each.get(name, "") for each in flat)
        places: dict[str, int] = {}
        pattern = tuple(places.setdefault(value, len(places)) for value in values)
        if len(places) > 1:
            found.setdefault(pattern, values)
    return list(found.values())


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value, sort_keys=True, default=str)
