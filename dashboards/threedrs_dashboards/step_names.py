"""What a step of a cell is called on a page."""

from __future__ import annotations


def step_name(role: str, label: str) -> str:
    """The role; where it ends in a digest ("scenes:fc7a8e4a"), the label says it better.

    Args:
        role: of the step in its cell.
        label: which of several steps of a kind it is, e.g. "teacher"; may be empty.
    """
    kind, _, digest = role.partition(":")
    return f"{kind} {label}" if digest and label else role
