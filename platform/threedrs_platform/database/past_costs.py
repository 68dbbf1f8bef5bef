"""What steps will cost, told by earlier ones of equal sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import Recipe, sha256_text
from threedrs_platform.steps import JSON

NO_SIZE = ("seed", "layer")
"""Whole numbers that make no step longer: which draw it is, and which of the layers is read."""
IDENTITIES = ("content", "weights")
"""Digests of what a step reads from outside: they make a step longer by being there, not by what
they are.
"""
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|unhashed:.*", re.DOTALL)
UNKNOWN = "unknown"
"""Size of a step that nobody has written down, and of all that read it."""


@dataclass(frozen=True)
class History:
    """What steps of one kind and size have cost so far."""

    count: int
    seconds: float
    size: float


@dataclass(frozen=True)
class Cost:
    """What one step took."""

    key: str
    seconds: float
    size: float


class Sizes:
    """Sizes of steps: equal where kind, own settings and, step by step, those of what they read are
    equal in all that bears on time.

    Whole numbers, names and switches are sizes: steps, scenes, frames, widths, a model's kind, a
    dtype. Fractions (rates, weights, temperatures), seeds, digests and what stands in a list of
    plain values are none. So a change of code, of a rate, a seed or a checkpoint leaves a step its
    time; 4000 training steps, or another student, are told by others of these alone.
    """

    def __init__(
        self,
        recipes: Mapping[str, Recipe | Mapping[str, Any]],
        made: dict[str, str] | None = None,
    ) -> None:
        """Take what sizes are made of.

        Args:
            recipes: of the steps that will be asked after, and of what they read, by key.
            made: sizes by key that are known, and gets those that are made: no recipe changes.
        """
        self._recipes = recipes
        self._sizes = {} if made is None else made
        self._parts: dict[int, tuple[JSON, JSON]] = {}

    def of(self, key: str) -> str:
        """The size of a step."""
        size = self._sizes.get(key)
        if size is None:
            size = self._made(key)
            if size != UNKNOWN:  # the next who asks may know more
                self._sizes[key] = size
        return size

    def _made(self, key: str) -> str:
        recipe = self._recipes.get(key)
        if recipe is None:
            return UNKNOWN
        plain = recipe.plain if isinstance(recipe, Recipe) else recipe
        params = _sizes_of(plain["params"], self._part)
        inputs = {name: self.of(each) for name, each in plain["inputs"].items()}
        if UNKNOWN in inputs.values():
            return UNKNOWN
        return sha256_text(canonical_json([plain["kind"], params, inputs]))

    def _part(self, value: JSON) -> JSON:
        """The size of a setting; cells of a plan share theirs."""
        if not isinstance(value, dict | list):
            return size_of(value)
        if id(value) not in self._parts:
            self._parts[id(value)] = (size_of(value), value)
        return self._parts[id(value)][0]


class PastCosts:
    """Means over earlier steps of the same size."""

    def __init__(self, costs: Iterable[Cost], sizes: Sizes) -> None:
        """Take what steps that succeeded have cost."""
        self._sizes = sizes
        by_size: dict[str, list[Cost]] = {}
        for each in costs:
            by_size.setdefault(sizes.of(each.key), []).append(each)
        self._means = {size: _mean(found) for size, found in by_size.items()}

    def of(self, key: str) -> History | None:
        """What a step will cost; None where none of its size has succeeded."""
        size = self._sizes.of(key)
        return None if size == UNKNOWN else self._means.get(size)


def size_of(value: JSON) -> JSON:
    """What of a setting bears on how long a step takes."""
    if isinstance(value, Mapping):
        return _sizes_of(value, size_of)
    if isinstance(value, list | tuple):
        return [len(value), *(size_of(each) for each in value if isinstance(each, Mapping))]
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return "digest"
    return None if isinstance(value, float) else value


def _sizes_of(settings: Mapping[str, Any], size: Callable[[JSON], JSON]) -> dict[str, JSON]:
    return {
        name: bool(value) if name in IDENTITIES else size(value)
        for name, value in settings.items()
        if name not in NO_SIZE
    }


def _mean(costs: list[Cost]) -> History:
    count = len(costs)
    seconds = sum(each.seconds for each in costs) / count
    return History(count, seconds, sum(each.size for each in costs) / count)
