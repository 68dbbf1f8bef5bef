"""Where knowledge enters and where it can be read: place to align x place to probe, per probe."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_components.objectives.registry import ObjectivesConfig, objectives_told
from threedrs_components.report.table import ResultTable, Row
from threedrs_components.report.traits import NO_TEACHER

AT = "probe/at/"
"""Beginning of the metrics of probes at several places, before the place."""
SHOWN = ("position_xy", "position_xyz", "depth", "normals", "instance", "margin")
"""Probes that have a panel, in this order; the raw score of correspondence says little."""
BEFORE_LAYERS = ("tower", "projector")
HEAD = (
    "probe", "trained_with", "probed_at", "trained_there", "mean", "sd", "seeds", "unit", "chance",
    "n",
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One probe: means over seeds."""

    name: str
    unit: str
    chance: float | None
    rows: tuple[str, ...]
    """What each row was aligned at, and how"""
    places: tuple[str, ...]
    """What each column was probed at"""
    values: tuple[tuple[float | None, ...], ...]
    """[row][place]; None where it was not measured"""
    spreads: tuple[tuple[float | None, ...], ...]
    """Standard deviations over seeds; None of a single seed"""
    seeds: tuple[int, ...]
    """Seeds of each row"""
    n: tuple[int, ...]
    """Sample counts behind the values; one number when all agree"""
    aligned: tuple[tuple[str, ...], ...]
    """The places that each row was aligned at"""


def layer_map(table: ResultTable) -> tuple[Panel, ...]:
    """A panel for each probe that was read at several places; none without.

    Args:
        table: with all metrics.
    """
    columns = {each.name: each for each in table.columns if each.name.startswith(AT)}
    return tuple(
        panel
        for name in SHOWN
        if (panel := _panel(table, name, [each for each in columns if each.endswith(f"/{name}")]))
    )


def layer_map_csv(panels: Sequence[Panel]) -> str:
    """The numbers of all panels, one line each that was measured."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEAD)
    for panel in panels:
        of_panel = (panel.unit, panel.chance, "/".join(map(str, panel.n)))
        for row, title in enumerate(panel.rows):
            for at, place in enumerate(panel.places):
                if (mean := panel.values[row][at]) is not None:
                    trained = int(place in panel.aligned[row])
                    told = (mean, panel.spreads[row][at], panel.seeds[row])
                    lines.writerow((panel.name, title, place, trained, *told, *of_panel))
    return text.getvalue()


def _panel(table: ResultTable, name: str, metrics: Sequence[str]) -> Panel | None:
    by_place = {each.removeprefix(AT).split("/")[0]: each for each in metrics}
    places = sorted(by_place, key=_depth)
    rows = [row for row in table.rows if any(row.entries[each].values for each in metrics)]
    if not rows:
        return None
    named = sorted(((_aligned(row), row) for row in rows), key=lambda each: _order(each[0]))
    column = next(each for each in table.columns if each.name in metrics)
    entries = [[row.entries[by_place[place]] for place in places] for _, row in named]
    return Panel(
        name=name,
        unit=column.unit,
        chance=column.chance,
        rows=tuple(_titles([(aligned, row.title) for aligned, row in named])),
        places=tuple(places),
        values=tuple(tuple(each.mean for each in row) for row in entries),
        spreads=tuple(tuple(each.sd for each in row) for row in entries),
        seeds=tuple(max(len(each.values) for each in row) for row in entries),
        n=tuple(sorted({number for row in entries for each in row for number in each.n})),
        aligned=tuple(
            tuple(place for where in aligned.values() for place in where) for aligned, _ in named
        ),
    )


def _aligned(row: Row) -> dict[str, tuple[str, ...]]:
    """By losses of scenes that take part, the places that they read."""
    flat = row.replicates[0].settings
    if flat.get("training.steps") == 0:
        return {}
    taught = flat.get("teacher", NO_TEACHER) != NO_TEACHER
    active = objectives_told(flat).active(has_teacher=taught)
    return {
        each.name: tuple(map(str, _places(each.name, flat)))
        for each in active
        if each.per == "scene" and each.visual_layers
    }


def _places(name: str, flat: Mapping[str, Any]) -> Sequence[Any]:
    default = getattr(ObjectivesConfig(), name).visual_layers
    one = flat.get(f"{name}.layer")
    places: Sequence[Any] = flat.get(f"{name}.layers", default if one is None else [one])
    return places


def _titles(rows: Sequence[tuple[dict[str, tuple[str, ...]], str]]) -> Iterator[str]:
    """Objective and places, unless two rows would be called the same."""
    names = [
        "; ".join(f"{name} at {', '.join(places)}" for name, places in aligned.items()) or "nothing"
        for aligned, _ in rows
    ]
    for name, (_, title) in zip(names, rows, strict=True):
        yield name if names.count(name) == 1 else title


def _order(aligned: dict[str, tuple[str, ...]]) -> tuple[Any, ...]:
    """No alignment first, then as the student computes."""
    return tuple((name, [_depth(place) for place in places]) for name, places in aligned.items())


def _depth(place: str) -> tuple[int, int]:
    """Of a place: tower and projector, layers from the first on, then those from the last."""
    if place in BEFORE_LAYERS:
        return 0, BEFORE_LAYERS.index(place)
    return (1, int(place)) if int(place) >= 0 else (2, int(place))
