"""Names of tags and metrics in MLflow, and how its runs are found by them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from threedrs_platform.database.measurements import RunSummary

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

LONGEST_VALUE = 5000
"""MLflow refuses longer parameters and tags."""
RUN, CELL, SEED, STEPS, WORK, STATE, COMPLETE, SAME_AS, MODEL = (
    f"threedrs.{name}"
    for name in (
        "run",
        "cell",
        "seed",
        "steps",
        "work",
        "state",
        "complete",
        "same_as",
        "model_id",
    )
)
KIND = "kind"
"""Tells submissions from their cells: "submission" or "cell"."""
NOTE, PARENT = "mlflow.note.content", "mlflow.parentRunId"


def tracked_name(name: str) -> str:
    """A name that MLflow takes: "acc@0.25" becomes "acc_at_0.25"."""
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"))


def find_runs(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> list[Run]:
    """Runs with all these tags."""
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    return list(client.search_runs([experiment], wanted, max_results=50))


def find_parent(client: MlflowClient, run: RunSummary) -> Run | None:
    """MLflow's run of a submission, under which its cells are; None while MLflow has none."""
    experiment = client.get_experiment_by_name(run.name)
    if experiment is None:
        return None
    found = find_runs(client, experiment.experiment_id, {RUN: run.run_id, CELL: "-"})
    return found[0] if found else None
