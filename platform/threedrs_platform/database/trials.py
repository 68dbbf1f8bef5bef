"""What a study of tuning has found, as values: its trials, the best of them, what mattered.

Studies are read by `studies.py`; the command line, its files and the dashboards show these values.
No Optuna here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

FAR = 0.95
"""From how far along its range a number counts as one at the end of it."""


@dataclass(frozen=True)
class SearchRange:
    """The numbers that a setting was searched in, both ends included."""

    low: float
    high: float
    log: bool = False
    wider_below: bool = True
    """Whether the setting takes values below the lower end; a weight takes none below 0."""
    wider_above: bool = True
    listed: bool = False
    """Whether it is a list of numbers, of which the first and the last alone are its ends."""

    def end_of(self, value: float) -> str:
        """The end that a value lies at, where the range could go on: lower, upper, or neither."""
        numbers = (self.low, self.high, value)
        low, high, here = (math.log(each) if self.log else each for each in numbers)
        along, far = (here - low) / (high - low), 1.0 if self.listed else FAR
        if along >= far and self.wider_above:
            return "upper"
        return "lower" if along <= 1 - far and self.wider_below else ""


@dataclass(frozen=True)
class StudyFacts:
    """What a study searches, for readers that do not have its grid file."""

    run: str
    """Name of the tuning run that it belongs to: grid name and digest of what is searched."""
    grid: str
    arm: Mapping[str, Any]
    """Settings that tell this arm from the others; empty where there is one arm."""
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    space: Mapping[str, str]
    """Setting -> its range, in words."""
    trials: int
    """The arm's budget, equal for all arms."""
    seeds: tuple[int, ...]
    """Every trial is trained with each of them; its value is the mean."""
    training_steps: int
    held_out: float
    """Share of the annotated training scenes that trials are scored on."""
    choices: Mapping[str, list[Any]] = field(default_factory=dict)
    """Setting -> values in the order in which Optuna numbers them, for lists and the like."""
    run_id: str = ""
    """The submission that began the study; others may have worked on it, too."""
    watched: str = ""
    """The curve that pruning looks at, with a minus where Optuna is told its negative; empty
    without a pruner."""
    label: str = ""
    """What the grid calls the arm, if it does."""
    ranges: Mapping[str, SearchRange] = field(default_factory=dict)
    """Setting -> its range, of numbers and of lists of numbers; empty in earlier versions."""

    @classmethod
    def of(cls, attribute: Mapping[str, Any]) -> StudyFacts:
        """The facts as a study keeps them, which is JSON."""
        known = dict(attribute)
        for name in ("metrics", "directions", "seeds"):
            known[name] = tuple(known[name])
        ranges = known.pop("ranges", {})
        read = {path: SearchRange(**each) for path, each in ranges.items()}
        return cls(**known, ranges=read)

    @property
    def arm_name(self) -> str:
        """The arm for people; "all" where there is one."""
        return self.label or arm_name(self.arm)


@dataclass(frozen=True)
class TrialRow:
    """One trial as tables and plots show it."""

    number: int
    state: str
    """running, complete, pruned or fail"""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value, as the configuration has it."""
    values: tuple[float, ...] = ()
    """One per metric; empty unless the trial is complete."""
    cell_id: str = ""
    run_id: str = ""
    """The run that has its cells; empty in studies of earlier versions: that of the study."""
    seconds: float | None = None
    reason: str = ""
    """Why it was pruned or failed."""
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """Training step -> value of the watched curve."""
    measured: Mapping[str, float] = field(default_factory=dict)
    """Other metrics of the cell."""
    has_keys: bool = True
    """Whether it is known which steps measured it; earlier versions did not keep it."""

    @property
    def is_measured(self) -> bool:
        """Whether its values count."""
        return bool(self.values) and self.has_keys


@dataclass(frozen=True)
class StudyView:
    """One study: the trials that have begun, and what they say."""

    name: str
    facts: StudyFacts
    trials: tuple[TrialRow, ...]
    importance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Metric -> setting -> share of the variance; without metrics of which the trials cannot tell.
    """
    replaces: str = ""
    """The study before this one, some of whose trials are out of date."""
    out_of_date: Mapping[int, str] = field(default_factory=dict)
    """Number -> why, of those trials. They are measured again here, under the same numbers."""
    replaced_by: str = ""
    """The study that goes on in place of this one."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many trials are in each state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def complete(self) -> tuple[TrialRow, ...]:
        """Trials whose values count."""
        return tuple(trial for trial in self.trials if trial.is_measured)

    @cached_property
    def best(self) -> tuple[TrialRow, ...]:
        """The best trial; with several metrics the Pareto front. Of equal trials the first."""
        first: dict[tuple[float, ...], TrialRow] = {}
        for row in self.complete:
            first.setdefault(self._signed(row), row)
        return tuple(
            row
            for values, row in first.items()
            if not any(_beats(other, values) for other in first)
        )

    def is_higher_better(self, metric: int) -> bool:
        """The direction of a metric."""
        return self.facts.directions[metric] == "maximize"

    def ranked(self, metric: int) -> list[TrialRow]:
        """Complete trials, best first."""
        sign = -1 if self.is_higher_better(metric) else 1
        return sorted(self.complete, key=lambda trial: sign * trial.values[metric])

    @property
    def settings(self) -> list[str]:
        """What is tuned."""
        return list(self.facts.space) or sorted({key for t in self.trials for key in t.params})

    @property
    def left_out(self) -> list[int]:
        """Numbers of the trials that have begun, here or in the study before, and do not count."""
        begun = {trial.number for trial in self.trials}
        unknown = {trial.number for trial in self.trials if not trial.has_keys}
        return sorted(unknown | (self.out_of_date.keys() - begun))

    def edges(self) -> list[str]:
        """Settings whose range may be too narrow: the best trial lies at the end of it.

        With several metrics, where all of the front lie at one end.
        """
        found = []
        for path, searched in self.facts.ranges.items():
            values = [row.params[path] for row in self.best if path in row.params]
            ends = {searched.end_of(value) for value in values}
            if len(ends) == 1 and (end := ends.pop()):
                best = ", ".join(f"{value:.4g}" for value in dict.fromkeys(values))
                words = self.facts.space.get(path, "")
                found.append(
                    f"{path} {best} is at the {end} end of its range ({words}): widen it, what is "
                    "best may lie beyond"
                )
        return found

    def ties(self) -> list[str]:
        """That further trials are exactly as good as the best one; nothing with several metrics."""
        if len(self.facts.metrics) > 1 or not self.best:
            return []
        best = self.best[0]
        equal = [row.number for row in self.complete if row.values == best.values]
        if len(equal) < 2:
            return []
        others, verb = ", ".join(map(str, equal[1:])), "is" if len(equal) == 2 else "are"
        told = f"{_trials(len(equal) - 1)} ({others}) {verb} exactly as good as trial {best.number}"
        return [f"{told}, the first of them: this search cannot tell their settings apart"]

    def notes(self) -> list[str]:
        """Which trials do not count, and why; nothing where all do."""
        found = []
        if self.replaced_by:
            found.append(f"this study is out of date: {self.replaced_by} goes on in its place")
        unknown = sum(not trial.has_keys for trial in self.trials)
        if unknown:
            found.append(
                f"{_trials(unknown)} left out: nothing says by which code and from which data "
                "they were measured; `workflows tune` measures them again"
            )
        if self.out_of_date:
            found += out_of_date_notes(self.out_of_date)
            waiting = len(self.left_out) - unknown
            left = f", {waiting} left out until then" if waiting else ""
            again = len(self.out_of_date) - waiting
            found.append(f"{again} of them measured again{left}; before that see {self.replaces}")
        return found

    def _signed(self, row: TrialRow) -> tuple[float, ...]:
        """Values of which higher is better."""
        return tuple(
            value if self.is_higher_better(index) else -value
            for index, value in enumerate(row.values)
        )


def arm_name(arm: Mapping[str, Any]) -> str:
    """`teacher=vggt`, or "all" for no arm."""
    return ",".join(f"{path}={value}" for path, value in arm.items()) or "all"


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def out_of_date_notes(reasons: Mapping[int, str]) -> list[str]:
    """How many trials do not count any more, a line per reason."""
    counts = Counter(reasons.values())
    return [f"{_trials(count)} out of date: {why}" for why, count in counts.items()]


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def choice_text(choice: Any) -> Any:
    """A choice as Optuna stores it: lists and mappings as text, plain values as they are."""
    return str(choice) if isinstance(choice, list | tuple | dict) else choice
