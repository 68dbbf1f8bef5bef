"""Search spaces: what values each tuned setting may take, read from the grid file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threedrs_platform.config.faults import shown
from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.trials import choice_text
from threedrs_platform.errors import Fault
from threedrs_workflows.grid.where import same

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

FORMS = ("float", "int", "categorical")
MODIFIERS = ("log", "step")


@dataclass(frozen=True)
class Numbers:
    """A range of numbers, both ends included."""

    path: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        """Values that the configuration must take for all between them to be taken."""
        return self.low, self.high

    @property
    def words(self) -> str:
        """For people: `1e-05 to 0.001, log`."""
        extra = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{extra}"

    def suggest(self, trial: BaseTrial) -> float:
        """A value for a trial; of one that has ended, the value it had."""
        if self.whole:
            step = int(self.step or 1)
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(self.path, low, high, step=step, log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)

    def holds(self, value: Any) -> bool:
        """Whether a value of the base lies in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or (1 if self.whole else math.inf))
        return math.isclose(steps, round(steps), abs_tol=1e-9) or self.step is None

    def encoded(self, value: Any) -> Any:
        """As Optuna stores it."""
        return int(value) if self.whole else float(value)

    def points(self) -> list[float] | None:
        """All values, or None where there is no end of them."""
        step = self.step or (1 if self.whole and not self.log else None)
        if step is None:
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + index * step for index in range(count)]
        return [round(value) if self.whole else value for value in values]


@dataclass(frozen=True)
class Choices:
    """A few values, of any kind."""

    path: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.values

    @property
    def words(self) -> str:
        """For people."""
        return " | ".join(str(choice_text(value)) for value in self.values)

    def suggest(self, trial: BaseTrial) -> Any:
        """A value for a trial; of one that has ended, the value it had."""
        chosen = trial.suggest_categorical(self.path, [choice_text(each) for each in self.values])
        return next(each for each in self.values if choice_text(each) == chosen)

    def holds(self, value: Any) -> bool:
        """Whether a value of the base is among them."""
        return any(same(value, each) for each in self.values)

    def encoded(self, value: Any) -> Any:
        """As Optuna stores it."""
        return choice_text(next(each for each in self.values if same(value, each)))

    def points(self) -> list[Any]:
        """All values."""
        return list(self.values)


Dimension = Numbers | Choices
FEWEST_POINTS = 3
"""Of two values one is the larger, whatever is searched."""


def ordered_ends(dimension: Dimension) -> tuple[float, float] | None:
    """Lower and upper end of numbers, listed ones too; None where there is no order to speak of."""
    points = dimension.points()
    if isinstance(dimension, Numbers) and points is None:
        return dimension.ends
    points = points or []
    numbers = [each for each in points if type(each) in (int, float)]
    few = len(numbers) < len(points) or len(numbers) < FEWEST_POINTS
    return None if few else (min(numbers), max(numbers))


def values_below(dimension: Dimension, low: float) -> tuple[float, ...]:
    """Some values that a wider range would hold below its lower end."""
    if isinstance(dimension, Numbers) and not dimension.whole:
        return (low / 2 if dimension.log else low - (dimension.high - low) / 10,)
    return (low - 1, low // 2) if isinstance(low, int) else (low / 2,) if low > 0 else (low - 1,)


def values_above(dimension: Dimension, high: float) -> tuple[float, ...]:
    """The same above its upper end."""
    if isinstance(dimension, Numbers) and not dimension.whole:
        return (high * 2 if dimension.log else high + (high - dimension.low) / 10,)
    return (high + 1, high * 2) if isinstance(high, int) else (high * 2,)


@dataclass
class SpaceReader:
    """Reads the dimensions of one `tune: space:`, collecting faults."""

    document: Document
    path_fault: Callable[[str], str | None]
    """Why a dotted name is no setting that may be tuned."""
    faults: list[Fault]

    def read(self, space: Mapping[str, Any], at: KeyPath) -> list[Dimension]:
        """The sound ones of all dimensions."""
        found: list[Dimension] = []
        for path, raw in space.items():
            message = self.path_fault(path)
            if message:
                self._refuse(message, (*at, path), of_key=True)
            elif (dimension := self._dimension(path, raw, (*at, path))) is not None:
                found.append(dimension)
        self._overlaps(list(space), at)
        return found

    def _refuse(self, message: str, at: KeyPath, *, of_key: bool = False) -> None:
        self.faults.append(self.document.fault(message, at, of_key=of_key))

    def _dimension(self, path: str, raw: Any, at: KeyPath) -> Dimension | None:
        if not isinstance(raw, Mapping):
            form = "{float: [low, high]}, {int: [low, high]} or {categorical: [a, b]}"
            self._refuse(f"expected {form}, got {shown(raw)}", at)
            return None
        known = (*FORMS, *MODIFIERS)
        unknown = [key for key in raw if key not in known]
        for key in unknown:
            self._refuse(f"unknown key {key!r}{did_you_mean(key, known)}", (*at, key), of_key=True)
        forms = [key for key in raw if key in FORMS]
        if len(forms) != 1 and not unknown:
            self._refuse(f"needs one of {', '.join(FORMS)}", at)
        if len(forms) != 1 or unknown:
            return None
        if forms[0] == "categorical":
            return self._choices(path, raw, at)
        return self._numbers(path, raw, forms[0], at)

    def _choices(self, path: str, raw: Mapping[str, Any], at: KeyPath) -> Choices | None:
        values, before = raw["categorical"], len(self.faults)
        for name in MODIFIERS:
            if name in raw:
                self._refuse(f"{name} belongs to numbers", (*at, name), of_key=True)
        if not isinstance(values, list) or len(values) < 2:
            self._refuse("list at least two choices", (*at, "categorical"))
            return None
        for index, value in enumerate(values):
            if any(same(value, other) for other in values[:index]):
                self._refuse(f"{shown(value)} is listed twice", (*at, "categorical", index))
        return Choices(path, tuple(values)) if len(self.faults) == before else None

    def _numbers(self, path: str, raw: Mapping[str, Any], form: str, at: KeyPath) -> Numbers | None:
        ends, step, log = raw[form], raw.get("step"), raw.get("log", False)
        message = _range_fault(ends, form) or _modifier_fault(ends, form, log, step)
        if message:
            place = (*at, form) if _range_fault(ends, form) else at
            self._refuse(message, place)
            return None
        return Numbers(path, ends[0], ends[1], log, step, form == "int")

    def _overlaps(self, paths: Sequence[str], at: KeyPath) -> None:
        for path in paths:
            for other in paths:
                if path.startswith(f"{other}."):
                    self._refuse(f"{other} is tuned, too, and holds it", (*at, path), of_key=True)


def _range_fault(ends: Any, form: str) -> str | None:
    kinds = (int,) if form == "int" else (int, float)
    what = "whole numbers" if form == "int" else "numbers"
    if not isinstance(ends, list) or len(ends) != 2 or not all(type(e) in kinds for e in ends):
        return f"expected [low, high] as two {what}, got {shown(ends)}"
    if not ends[0] < ends[1]:
        return f"low must be below high, got {shown(ends)}"
    return None


def _modifier_fault(ends: list[float], form: str, log: Any, step: Any) -> str | None:
    if not isinstance(log, bool):
        return f"log is true or false, got {shown(log)}"
    if log and step is not None:
        return "log and step exclude each other"
    if log and ends[0] <= 0:
        return f"log needs a low end above 0, got {shown(ends[0])}"
    kinds = (int,) if form == "int" else (int, float)
    if step is not None and (type(step) not in kinds or step <= 0 or step > ends[1] - ends[0]):
        return f"a step of {shown(step)} does not fit between {ends[0]} and {ends[1]}"
    return None
