"""A copy of our scorers' source beside exported tasks, under a package name that is its own.

The tasks then give our numbers where threedrs is not installed, and where another version of it is.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.identity.source_code import CodeIndex

TASK = "threedrs_components.benchmarks.lmms_eval.task"
PACKAGE = "threedrs_scoring"
_OURS = re.compile(r"\bthreedrs_(components|platform)\b")


def copy_scoring_code(scorers: Sequence[str], out: Path) -> str:
    """Write the package with all that these modules reach; returns its name.

    Two folders of different code must not share a name: lmms-eval loads them into one process.

    Args:
        scorers: modules of the scorers.
        out: gets the package.
    """
    sources = _sources(scorers)
    digest = sha256_text("\n".join(f"{name}\n{text}" for name, text in sorted(sources.items())))
    package = f"{PACKAGE}_{digest[:8]}"
    for name, text in sources.items():
        path = out / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_renamed(text, package), encoding="utf-8")
    return package


def name_in_copy(module: str, package: str) -> str:
    """What one of our modules is called in the copy."""
    return _renamed(module, package)


def _renamed(text: str, package: str) -> str:
    return _OURS.sub(rf"{package}.\1", text)


def _sources(scorers: Sequence[str]) -> dict[str, str]:
    """Path in the package -> source, of every module that is reached and its packages."""
    # Nobody can follow the task's module itself, which loads a scorer by its name.
    code, reached = CodeIndex(), {TASK, TASK.rpartition(".")[0]}
    for start in (*scorers, "threedrs_components.benchmarks.text_answers"):
        reached |= set(code.modules(start))
    found = {"__init__.py": '"""Scorers of threedrs, copied beside the tasks they score."""\n'}
    for module in sorted(reached):
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None, module
        origin = Path(spec.origin)
        parts = module.removeprefix("threedrs_").split(".")
        stem = "/".join(parts)
        is_package = origin.name == "__init__.py"
        found[f"{stem}/__init__.py" if is_package else f"{stem}.py"] = origin.read_text("utf-8")
    return found
