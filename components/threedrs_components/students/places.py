"""Where in a student visual tokens have states: before its language model, and behind its layers.

Imports no torch.
"""

from __future__ import annotations

from typing import Literal

BeforeLayers = Literal["tower", "projector"]
Place = int | BeforeLayers
"""tower: states of the vision tower, of its own width, pooled to the token grid by area.
projector: the projected tokens, before anything is added to them. A number is a layer of the
language model: 0 its input, -1 the last after the final norm, -k the k-th last."""


def places(layers: int) -> tuple[Place, ...]:
    """All of a student whose language model has so many layers, in the order of computation."""
    return ("tower", "projector", *range(layers), -1)


def parts_before(place: Place, layers: int) -> frozenset[str] | None:
    """Parts of a student that make the states of a place; None where its language model does, too.

    Args:
        place: in the student.
        layers: of its language model.
    """
    if place == "tower":
        return frozenset({"vision"})
    if place in ("projector", 0, -layers - 1):
        return frozenset({"vision", "projector"})
    return None
