"""The nearest right name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

MOST_LISTED, NEAREST = 8, 3
"""With more names than this only the nearest are named."""
MOST_KNOWN = 60
"""More names are no list that anybody reads."""


def did_you_mean(word: str, known: Any) -> str:
    """'; did you mean ...?' with the nearest known name, else the list of known names."""
    names = sorted(str(name) for name in known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    if len(names) > MOST_KNOWN:
        return f"; there are {len(names)}, e.g. {', '.join(map(repr, names[:NEAREST]))}"
    return f"; known: {', '.join(names)}" if names else ""


def nearest_and_all(word: str, known: Iterable[str]) -> str:
    """As `did_you_mean`, with the list of known names also where one of them is near."""
    names = sorted(known)
    hint, listed = did_you_mean(word, names), f"known: {', '.join(names)}"
    return hint if listed in hint or len(names) > MOST_KNOWN else f"{hint} ({listed})"


def nearest_few(word: str, known: Iterable[str], listed: str) -> str:
    """As `did_you_mean` for names that are too many to list: those nearest, and where all are.

    Args:
        word: a wrong name, or a pattern that fits none.
        listed: what shows all of them, e.g. "`workflows results --metric '*'`".
    """
    names = sorted(known)
    if len(names) <= MOST_LISTED:
        return did_you_mean(word, names)
    plain = word.strip("*?[]").lower()
    inside = [name for name in names if plain and plain in name.lower()]
    cutoff = 0.0 if inside else 0.6
    near = difflib.get_close_matches(word, inside or names, n=NEAREST, cutoff=cutoff)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    return f"{hint} {listed} shows all {len(names)}"


def nearest_path(path: str, known: Iterable[str]) -> str:
    """As `did_you_mean` for dotted names, where the last part alone may be what was meant."""
    names = sorted(known)
    last = path.rpartition(".")[2]
    same_leaf = [name for name in names if name.rpartition(".")[2] == last]
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.75) or same_leaf[:3]
    near = near or difflib.get_close_matches(path, names, n=1, cutoff=0.6)
    if not near:
        leaves = {name.rpartition(".")[2] for name in names}
        leaf = difflib.get_close_matches(last, sorted(leaves), n=1, cutoff=0.7)
        near = [name for name in names if leaf and name.rpartition(".")[2] == leaf[0]][:3]
    return "; did you mean " + " or ".join(repr(name) for name in near) + "?" if near else ""
