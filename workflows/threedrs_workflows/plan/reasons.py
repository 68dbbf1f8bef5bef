"""Why a step is new: compare its recipe with the one it replaces, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_platform.database.acceptances import CodeParts
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.identity.source_code import changed_code
from threedrs_platform.steps import JSON

SHOWN_DIFFERENCES = 3
MOST_DIFFERENCES = 3
"""Settings in which a step may differ from an earlier one and still be told by it."""
MOST_COMPARED = 50
"""Newest steps of a kind and label among which the nearest is sought, so that explaining a grid of
thousands of cells takes no longer per cell than explaining one."""
ABSENT = object()


@dataclass(frozen=True)
class Reason:
    """Why a step is new."""

    text: str
    changed_code: tuple[str, ...] = ()
    """A line per module: which of its functions and classes changed."""


class Predecessors:
    """Earlier steps that a new one may be a changed version of."""

    def __init__(
        self,
        known: Sequence[tuple[StepRow, Any]],
        current: Mapping[str, Recipe],
        parts: Callable[[str], CodeParts | None] = lambda _: None,
    ) -> None:
        """Take what the journal knows, newest first.

        Args:
            known: earlier steps with their recipes.
            current: recipes of the plan at hand. A step that the plan still uses is no predecessor
                of another: it stands beside it.
            parts: what a digest of code is made of, where that is known.
        """
        self._parts = parts
        self._groups: dict[tuple[str, str], _Group] = {}
        for row, recipe in known:
            group = self._groups.setdefault((row.kind, row.label), _Group())
            if row.key not in current and len(group.recipes) < MOST_COMPARED:
                group.add(recipe)

    def reason(self, recipe: Recipe, label: str) -> Reason:
        """What changed since the most similar earlier step of this kind and label; new where that
        differs in so many settings that it is another step, not an earlier form of this one."""
        group = self._groups.get((recipe.kind, label))
        if group is None or not group.recipes:
            return NEW
        place = group.place(recipe)
        if place not in group.reasons:
            mine = recipe.plain
            group.reasons[place] = (self._reason(group.nearest(mine), mine), recipe)
        return group.reasons[place][0]

    def _reason(self, nearest: Any, mine: Any) -> Reason:
        if sum(1 for _ in differences(nearest["params"], mine["params"])) > MOST_DIFFERENCES:
            return NEW
        code = self._changed_code(nearest, mine)
        changes = [*own_changes(nearest, mine, code)]
        changed = [name for name, _, _ in differences(nearest["inputs"], mine["inputs"])]
        if changed:
            changes.append(f"input changed: {', '.join(changed)}")
        shown = "; ".join(changes[:SHOWN_DIFFERENCES])
        more = len(changes) - SHOWN_DIFFERENCES
        return Reason(shown + (f"; and {more} more" if more > 0 else ""), code)

    def _changed_code(self, old: Any, new: Any) -> tuple[str, ...]:
        if old["code"] == new["code"]:
            return ()
        before, after = self._parts(old["code"]), self._parts(new["code"])
        return () if before is None or after is None else tuple(changed_code(before, after))


class _Group:
    """Earlier steps of one kind and label. What was found out about a new one holds for all that
    differ from it in nothing that an earlier step has.
    """

    def __init__(self) -> None:
        self.recipes: list[Any] = []
        self.reasons: dict[Hashable, tuple[Reason, Recipe]] = {}
        """By place; with a recipe of the place, whose ids are those of living objects."""
        self._features: list[Mapping[tuple[str, str], JSON]] = []
        self._names: dict[tuple[str, str], None] = {}
        self._read: set[str] = set()
        self._distances: dict[Hashable, tuple[list[int], JSON]] = {}
        """How far each recipe is in one feature from a value, and the value."""

    def add(self, recipe: Any) -> None:
        """Take in an earlier step."""
        features = _features(recipe)
        self.recipes.append(recipe)
        self._features.append(features)
        self._names |= dict.fromkeys(features)
        self._read.update(recipe["inputs"].values())

    def place(self, recipe: Recipe) -> Hashable:
        """Equal for recipes that all have the same reason to be new."""
        inputs = [(name, key if key in self._read else "") for name, key in recipe.inputs.items()]
        params = [(name, _id(value)) for name, value in recipe.params.items()]
        own = (recipe.code, recipe.entry, recipe.version, recipe.numerics, id(recipe.packages))
        return (*own, *params, *inputs)

    def nearest(self, mine: Any) -> Any:
        """The first of the earlier recipes that differ least from a new one."""
        features = _features(mine)
        names = self._names | dict.fromkeys(features)
        columns = [self._column(name, features.get(name, ABSENT)) for name in names]
        totals = list(map(sum, zip(*columns, strict=True)))
        return self.recipes[totals.index(min(totals))]

    def _column(self, name: tuple[str, str], value: JSON) -> list[int]:
        known = (name, _id(value))
        if known not in self._distances:
            column = [_distance(each.get(name, ABSENT), value) for each in self._features]
            self._distances[known] = (column, value)
        return self._distances[known][0]


NEW = Reason("new")


def own_changes(old: Any, new: Any, code: Sequence[str] = ()) -> Iterator[str]:
    """In what two recipes differ, their inputs apart.

    Args:
        old: one recipe, as kept in the journal.
        new: the other.
        code: modules and functions that differ, if they are known.
    """
    if old["code"] != new["code"] or old["entry"] != new["entry"]:
        more = f" and {len(code) - 1} more modules" if len(code) > 1 else ""
        yield f"code changed: {code[0]}{more}" if code else "code changed"
    for name, before, after in differences(old["packages"], new["packages"]):
        yield f"package {name} changed: {_show(before)} to {_show(after)}"
    for field in ("version", "numerics"):
        if old[field] != new[field]:
            yield f"{field} changed: {_show(old[field])} to {_show(new[field])}"
    for name, before, after in differences(old["params"], new["params"]):
        yield f"parameter {name} changed: {_show(before)} to {_show(after)}"


def differences(old: JSON, new: JSON, path: str = "") -> Iterator[tuple[str, JSON, JSON]]:
    """Dotted path, old and new value of everything in which two JSON values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else key
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), below)
    elif old != new:
        yield path, old, new


def _features(recipe: JSON) -> dict[tuple[str, str], JSON]:
    """What recipes are compared by: each of their fields, parameters, inputs and packages."""
    found: dict[tuple[str, str], JSON] = {}
    for field, value in recipe.items():
        if isinstance(value, Mapping):
            found |= {(field, name): below for name, below in value.items()}
        else:
            found[field, ""] = value
    return found


_PLAIN = frozenset((str, int, float, bool, type(None)))


def _distance(old: JSON, new: JSON) -> int:
    """In how many places two values differ; one that only one of them has counts half."""
    if type(old) in _PLAIN and type(new) in _PLAIN:  # most are, and to ask for a Mapping is slow
        return 0 if old == new and type(old) is type(new) else 2
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return sum(_distance(old.get(k, ABSENT), new.get(k, ABSENT)) for k in old.keys() | new)
    if old is ABSENT or new is ABSENT:
        return _count(new if old is ABSENT else old)
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        return _count(old) + _count(new)
    return 0 if old == new and type(old) is type(new) else 2


def _count(value: JSON) -> int:
    return sum(map(_count, value.values())) if isinstance(value, Mapping) else value is not ABSENT


def _id(value: JSON) -> Hashable:
    """Equal for equal plain values, and for one and the same list or mapping."""
    return id(value) if isinstance(value, dict | list) else (type(value), value)


def _show(value: JSON) -> str:
    if value is ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
