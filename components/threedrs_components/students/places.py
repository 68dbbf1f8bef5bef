"""Where in a student visual tokens have states: before its language model, and behind its layers.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

BeforeLayers = Literal["tower", "projector"]
Place = int | BeforeLayers
"""tower: states of the vision tower, of its own width, pooled to the token grid by area.
projector: the projected tokens, before anything is added to them. A number is a layer of the
language model: 0 its input, -1 the last after the final norm, -k the k-th last."""


def places(layers: int) -> tuple[Place, ...]:
    """All of a student whose language model has so many layers, in the order of computation."""
    return ("tower", "projector", *range(layers), -1)


def parts_before(place: Place, layers: int) -> frozenset[str]:
    """Parts of a student that make the states of a place: vision, projector, language.

    Args:
        place: in the student.
        layers: of its language model.
    """
    if place == "tower":
        return frozenset({"vision"})
    if place in ("projector", 0, -layers - 1):
        return frozenset({"vision", "projector"})
    return frozenset({"vision", "projector", "language"})


def refuse_twice(named: Sequence[Place], layers: int | None = None) -> tuple[Place, ...]:
    """The same places, each of which may be named once.

    Args:
        named: in a setting.
        layers: of the student's language model, where that is known: a layer has two numbers then.

    Raises:
        ValueError: one stands there twice.
    """
    first: dict[Place, Place] = {}
    for place in named:
        counted = place
        if isinstance(place, int) and place < 0 and layers is not None:
            counted = place + layers + 1
        if counted in first:
            also = first[counted]
            same = "" if also == place else f" (once as {also!r})"
            raise ValueError(f"{place!r} is named twice{same}; name each place once")
        first[counted] = place
    return tuple(named)
