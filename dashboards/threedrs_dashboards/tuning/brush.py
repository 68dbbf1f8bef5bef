"""Which trials of a study a reader has brushed: they light up in all plots and in the table.

A URL names them by the range of one setting or metric (`?brush=PATH&low=&high=`, or `&is=VALUE`
where it holds words), or one by one (`?trials=1,4,7`), as a box drawn into a plot finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from threedrs_components.report.study_figures import coordinate_axis
from threedrs_dashboards import query
from threedrs_platform.database.trials import StudyView, TrialRow
from threedrs_platform.errors import ConfigError, Fault


@dataclass(frozen=True)
class BrushAxis:
    """One setting or metric, and what can be asked of it."""

    name: str
    words: Sequence[str]
    """Its values; empty where they are numbers."""
    low: float
    high: float

    def holds(self, value: Any, limits: tuple[float | None, float | None], word: str) -> bool:
        """Whether a trial's value is asked for; without limits or a word all values are."""
        if value is None:
            return False
        if self.words:
            return word in ("", str(value))
        low, high = limits
        return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Brush:
    """What is brushed."""

    axis: BrushAxis | None
    low: float | None
    high: float | None
    word: str
    lit: frozenset[int] | None
    """Numbers of the trials; None where nothing is brushed."""

    @property
    def numbers(self) -> str:
        """The trials as a URL names them."""
        return ",".join(map(str, sorted(self.lit or ())))


def brush_axes(study: StudyView) -> list[BrushAxis]:
    """Every setting, then every metric, over the values that trials have."""
    found = []
    for name in [*study.settings, *study.facts.metrics]:
        axis = coordinate_axis(name, [_value(study, trial, name) for trial in study.trials])
        found.append(BrushAxis(name, list(axis.places), axis.low, axis.high))
    return found


def find_brush(request: Request, study: StudyView, axes: Sequence[BrushAxis]) -> Brush:
    """Read the query string.

    Raises:
        ConfigError: no such setting or metric, or a limit is no number.
    """
    one_by_one = query.text(request, "trials")
    if one_by_one:
        return Brush(None, None, None, "", _numbers(one_by_one))
    by_name: Mapping[str, BrushAxis] = {axis.name: axis for axis in axes}
    name = query.choice(request, "brush", ["", *by_name])
    if not name:
        return Brush(None, None, None, "", None)
    axis, limits = by_name[name], (_limit(request, "low"), _limit(request, "high"))
    word = query.choice(request, "is", ["", *axis.words]) if axis.words else ""
    lit = [
        trial.number
        for trial in study.trials
        if axis.holds(_value(study, trial, name), limits, word)
    ]
    return Brush(axis, *limits, word, frozenset(lit))


def _value(study: StudyView, trial: TrialRow, name: str) -> Any:
    if name in study.facts.metrics:
        return trial.values[study.facts.metrics.index(name)] if trial.is_measured else None
    return trial.params.get(name)


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(each) for each in text.split(",") if each)
    except ValueError:
        raise ConfigError([Fault(f"{text!r} is no list of trials: 1,4,7", path="trials")]) from None


def _limit(request: Request, name: str) -> float | None:
    given = query.text(request, name)
    try:
        return float(given) if given else None
    except ValueError:
        raise ConfigError([Fault(f"{given!r} is no number", path=name)]) from None
