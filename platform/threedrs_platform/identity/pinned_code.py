"""Makes sure that a process runs the code that a plan was made for, however long it lives.

People edit files while grids run. Before a process first runs a step's code it compares the files
with the plan, loads every module the step can reach, and compares again: from then on the code in
memory is the planned code, and edits concern only runs to come.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path

from threedrs_platform.errors import StepFailed
from threedrs_platform.identity.source_code import CodeIndex

_pinned: dict[tuple[str, ...], str] = {}
"""Digest of the code that is in memory, by entry module and modules of components."""
_one_at_a_time = threading.Lock()


def pin_code(
    entry: str, digest: str, cache_file: Path | None = None, modules: Sequence[str] = ()
) -> None:
    """Load all project code that an entry point reaches, if it is still the planned code.

    Args:
        digest: of the modules, as planned.
        cache_file: what is known about unchanged source files; only read.
        modules: of the components that the step's parameters choose.

    Raises:
        StepFailed: the code was edited since the plan, or was loaded before another edit.
    """
    starts = (entry.partition(":")[0], *modules)
    with _one_at_a_time:
        if starts not in _pinned:
            index = CodeIndex(cache_file)
            _compare(entry, index.digest(entry, modules).modules, digest)
            for name in index.modules(entry, modules):
                importlib.import_module(name)
            index.forget()
            _compare(entry, index.digest(entry, modules).modules, digest)
            _pinned[starts] = digest
        _compare(entry, _pinned[starts], digest)


def _compare(entry: str, found: str, planned: str) -> None:
    if found != planned:
        raise StepFailed(
            f"the code of {entry} was edited since this run was planned, so a result would belong "
            "to neither version; submit again"
        )
