"""Cells show their curves in MLflow while they train, and are replaced by what was committed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from sqlalchemy import update

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.events import post
from threedrs_platform.database.results import write_measurements
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.tracking.delivery import deliver, local_target
from threedrs_platform.tracking.live import LiveCells
from threedrs_platform.tracking.places import Target

pytestmark = pytest.mark.whole

KEY = "key-vggt-1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A run whose one cell trains."""
    opened = open_database(sqlite_url(tmp_path / "results.db"))
    training = fake_results({"vggt": {1: {}}}, {}, {("vggt", 1): (StepState.RUNNING, "")})
    store_run(opened, training, logs=tmp_path / "logs")
    yield opened
    opened.close()


@pytest.fixture
def live(database: Database, tmp_path: Path) -> LiveCells:
    return LiveCells(database, tmp_path, local_target(tmp_path, None), "run-1")


def log(folder: Path, step: int) -> None:
    line = {"kind": "curve", "step": step, "values": {"loss": 1 / step}}
    with (folder / "logs" / KEY / "1.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def children(target: Target) -> list[Run]:
    client = MlflowClient(target.uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "tags.kind = 'cell'"))


def losses(target: Target, run: Run) -> list[tuple[int, float]]:
    found: list[Any] = MlflowClient(target.uri).get_metric_history(run.info.run_id, "finetune/loss")
    return [(each.step, each.value) for each in found]


def test_points_come_while_a_step_runs_and_the_end_replaces_them(
    live: LiveCells, database: Database, tmp_path: Path
) -> None:
    live.look()
    assert not (tmp_path / "mlflow.db").exists()  # nothing to tell: MLflow is not opened
    log(tmp_path, 10)
    live.look()
    log(tmp_path, 20)
    live.look()
    live.look()
    (child,) = children(live.target)
    assert child.info.status == "RUNNING"
    assert losses(live.target, child) == [(10, 0.1), (20, 0.05)]
    done = update(schema.steps).values(state=StepState.SUCCEEDED)
    with database.write() as connection:
        write_measurements(connection, KEY, [], [], [CurvePoint(30, "loss", 0.5)])
        connection.execute(done)
        post(connection, "run-1", "cell.finished", {"cell": "id-vggt", "seed": 1})
    live.look()
    assert not deliver(database, tmp_path, live.target).error
    (child,) = children(live.target)
    assert child.info.status == "FINISHED" and losses(live.target, child) == [(30, 0.5)]


def test_a_run_that_is_left_has_no_child_that_goes_on(
    live: LiveCells, database: Database, tmp_path: Path
) -> None:
    log(tmp_path, 10)
    live.look()
    with database.write() as connection:  # as a supervisor leaves it that was interrupted
        connection.execute(update(schema.steps).values(state=StepState.PENDING))
    live.close()
    (child,) = children(live.target)
    assert child.info.status == "KILLED"


def test_a_silent_server_is_nothing_to_die_of(database: Database, tmp_path: Path) -> None:
    log(tmp_path, 10)
    nowhere = LiveCells(database, tmp_path, Target(f"sqlite:///{tmp_path}/no/where.db"), "run-1")
    nowhere.look()
    shutil.rmtree(tmp_path / "logs")
    nowhere.close()
