"""Work that makes very many objects which live on: Python need not look for garbage meanwhile."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Context in which nobody looks for cycles of dead objects: each look goes through all that
    live, and finds nothing. What is not part of a cycle goes at once, as ever.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
