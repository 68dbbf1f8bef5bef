"""Why a step is new: compare its recipe with the one it replaces, field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_platform.database.acceptances import CodeParts
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.identity.source_code import changed_code
from threedrs_platform.steps import JSON

SHOWN_DIFFERENCES = 3
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
        self._by_label: dict[tuple[str, str], list[tuple[frozenset[str], Any]]] = {}
        for row, recipe in known:
            candidates = self._by_label.setdefault((row.kind, row.label), [])
            if row.key not in current and len(candidates) < MOST_COMPARED:
                candidates.append((_features(recipe), recipe))

    def reason(self, recipe: Recipe, label: str) -> Reason:
        """What changed since the most similar earlier step of this kind and label."""
        candidates = self._by_label.get((recipe.kind, label))
        if not candidates:
            return Reason("new")
        mine = json.loads(recipe.json())
        features = _features(mine)
        _, nearest = min(candidates, key=lambda each: len(features ^ each[0]))
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


def _features(recipe: JSON) -> frozenset[str]:
    """Every field of a recipe as one text; the distance of two recipes is how many differ."""
    return frozenset(f"{path}={value!r}" for path, value in _leaves(recipe, ""))


def _leaves(value: JSON, path: str) -> Iterator[tuple[str, JSON]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}")
    else:
        yield path, value


def _show(value: JSON) -> str:
    if value is ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
