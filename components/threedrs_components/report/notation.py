"""Numbers as readers see them."""

from __future__ import annotations

import math

from threedrs_components.report.table import Entry

ABSENT = "-"
"""What a cell shows for a metric that it never measures."""
COUNTED = frozenset({"samples", "scenes", "pairs"})
"""Units of metrics that are whole numbers."""


def decimals(unit: str) -> int:
    """Digits after the point: one for percentages, three for everything else."""
    return 1 if unit == "%" else 3


def plain(value: float | None, unit: str) -> str:
    """A value in the precision of its unit; counts without a point, zeros without a sign."""
    if value is None:
        return ABSENT
    places = 0 if unit in COUNTED else decimals(unit)
    return f"{round(value, places) + 0.0:.{places}f}"


def printed(value: float | None) -> str:
    """As the paper prints it: with one digit after the point, or with two."""
    if value is None:
        return ABSENT
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def signed(value: float, unit: str) -> str:
    """A difference, its sign always shown; a difference that rounds to zero has none."""
    text = f"{value:+.{decimals(unit)}f}"
    return text[1:] if float(text) == 0 else text


def interval(limits: tuple[float, float] | None, unit: str) -> str:
    """A 95 % interval in brackets; empty when there is none."""
    if limits is None or not all(map(math.isfinite, limits)):
        return ""
    return f"[{signed(limits[0], unit)}, {signed(limits[1], unit)}]"


def p_value(p: float | None) -> str:
    """ "p < .001", "p = .034"; empty when there is none."""
    if p is None:
        return ""
    if p < 0.001:
        return "p < .001"
    return f"p = {p:.3f}".replace("0.", ".")


def entry_text(entry: Entry, unit: str) -> str:
    """Mean ± sd of an entry, "(2/3)" when seeds are missing, "missing" when all are."""
    if entry.mean is None:
        states = dict.fromkeys(reason.split(": ")[0] for reason in entry.reasons.values())
        return f"missing ({', '.join(states)})" if states else ABSENT
    text = plain(entry.mean, unit)
    if entry.sd is not None:
        text += f" ± {entry.sd:.{decimals(unit)}f}"
    if entry.is_missing:
        text += f" ({len(entry.values)}/{entry.wanted})"
    return text
