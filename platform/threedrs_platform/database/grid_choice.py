"""What the author of a grid wants to see first of its runs, read from the grid as submitted."""

from __future__ import annotations

from dataclasses import dataclass

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.database.connection import Database
from threedrs_platform.database.runs import Runs


@dataclass(frozen=True)
class GridChoice:
    """The `report` section of a grid."""

    metrics: tuple[str, ...] = ()
    """Patterns."""
    compare_to: str | None = None


def grid_choice(database: Database, run_id: str) -> GridChoice:
    """The choice of a run's grid."""
    data = load_document(Runs(database).get(run_id).grid_yaml, "the submitted grid").data
    section = data.get("report") if isinstance(data, dict) else None
    if not isinstance(section, dict):
        return GridChoice()
    metrics = tuple(str(each) for each in section.get("metrics") or ())
    compare_to = section.get("compare_to")
    return GridChoice(metrics, None if compare_to is None else str(compare_to))
