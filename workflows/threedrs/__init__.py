"""threedrs from Python: runs and their numbers as tables, students, teachers, scores and probes.

    import threedrs

    threedrs.runs()                                          # one row per submission
    table = threedrs.results()                               # the newest run, one row per number
    table.pivot_table("value", "cell", "metric")             # means over seeds
    student = threedrs.load_student("vggt", seed=1)          # of a cell; or of a folder
    [answer] = threedrs.ask("vggt", "val00003", "what color is the lamp")
    threedrs.score("scanqa", predictions="mine.jsonl", annotations="annotations")

Names are imported when they are first used: `import threedrs` takes no time. Mistakes are
`ThreedrsError`s, whose message says what to do. `workspace` is the folder of `workflows
--workspace`, by default `THREEDRS_WORKSPACE` or `.threedrs`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threedrs.models import ask, load_student
    from threedrs.probes import probe
    from threedrs.tables import results, runs
    from threedrs_components.benchmarks.scoring import score
    from threedrs_components.teachers.registry import load_teacher
    from threedrs_platform.errors import ThreedrsError

__all__ = (
    "ThreedrsError",
    "ask",
    "load_student",
    "load_teacher",
    "probe",
    "results",
    "runs",
    "score",
)

_HOMES = {
    "ThreedrsError": "threedrs_platform.errors",
    "ask": "threedrs.models",
    "load_student": "threedrs.models",
    "load_teacher": "threedrs_components.teachers.registry",
    "probe": "threedrs.probes",
    "results": "threedrs.tables",
    "runs": "threedrs.tables",
    "score": "threedrs_components.benchmarks.scoring",
}
"""Public name -> the module that holds it."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'threedrs' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
