"""The tracking process: what it follows, when it ends, what it says when it cannot deliver."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from threedrs_platform.database.events import post, read_events
from threedrs_platform.database.outbox import count_open, note_failure, open_messages
from threedrs_platform.diagnosis import diagnose
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.tracking.delivery import Delivery
from threedrs_platform.workspace import Workspace, find_workspace, is_off
from threedrs_workflows.reports.run_report import report_files
from threedrs_workflows.tracking import tracker


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with find_workspace(str(tmp_path), environment={}) as found:
        store_run(found.database, fake_results({"a": {1: {"acc": 1.0}}}))
        with found.database.write() as connection:
            post(connection, "run-1", "cell.finished", {"cell": "id-a", "seed": 1})
            post(connection, "run-1", "run.finished", {})
        yield found


def counting(looks: list[Workspace]) -> Callable[[Workspace], Delivery]:
    def deliver(workspace: Workspace) -> Delivery:
        looks.append(workspace)
        return Delivery()

    return deliver


@pytest.mark.parametrize(("value", "off"), [("off", True), ("0", True), ("", False), ("on", False)])
def test_tracking_can_be_switched_off(workspace: Workspace, value: str, off: bool) -> None:
    assert is_off({"THREEDRS_TRACKING": value}) is off
    if off:
        assert tracker.start_tracker(workspace, "run-1", {"THREEDRS_TRACKING": value}) is None


def test_it_ends_with_the_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Workspace] = []
    monkeypatch.setattr(tracker, "deliver_all", counting(looks))
    tracker.follow(workspace, "run-1", os.getppid())
    assert len(looks) == 1


def test_it_waits_for_a_run_that_has_not_started(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission starts the process first and becomes the run's supervisor a moment later."""
    states = iter(["interrupted", "running", "running", "succeeded"])

    def advance(seconds: float) -> None:
        with workspace.database.write() as connection:
            connection.exec_driver_sql(f"UPDATE runs SET state = '{next(states)}'")

    looks: list[Workspace] = []
    # Not time.sleep itself: subprocess sleeps, too, when git is slow to answer.
    monkeypatch.setattr(tracker, "time", SimpleNamespace(sleep=advance))
    monkeypatch.setattr(tracker, "deliver_all", counting(looks))
    advance(0)
    tracker.follow(workspace, "run-1", os.getppid())
    assert len(looks) == 4


def test_it_ends_when_the_submission_died(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET state = 'running'")
    monkeypatch.setattr(tracker, "deliver_all", lambda workspace: Delivery())
    tracker.follow(workspace, "run-1", parent=-1)


def test_a_failing_server_is_told_once_in_the_events(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["running", "running", "succeeded"])

    def advance(seconds: float) -> None:
        with workspace.database.write() as connection:
            connection.exec_driver_sql(f"UPDATE runs SET state = '{next(states, 'succeeded')}'")

    # Not time.sleep itself: subprocess sleeps, too, when git is slow to answer.
    monkeypatch.setattr(tracker, "time", SimpleNamespace(sleep=advance))
    monkeypatch.setattr(tracker, "deliver_all", lambda workspace: Delivery(0, 2, "no route"))
    advance(0)
    tracker.follow(workspace, "run-1", os.getppid())
    events = read_events(workspace.database, "run-1")
    assert [event.type for event in events] == ["tracking.failed"]
    assert events[0].payload == {"error": "no route", "left": 2}


def test_the_user_hears_of_what_is_left(workspace: Workspace) -> None:
    done = subprocess.Popen(["true"])
    assert (
        "2 messages for MLflow could not be delivered" in tracker.Tracker(done, workspace).finish()
    )


def test_commits_are_read_from_the_source_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threedrs_workflows.tracking.tracker.subprocess.run", missing_git)
    assert tracker.source_commit() == ""


def missing_git(*arguments: object, **options: object) -> None:
    raise FileNotFoundError("git")


@pytest.mark.slow
def test_the_process_writes_everything_and_ends(workspace: Workspace, tmp_path: Path) -> None:
    started = tracker.start_tracker(workspace, "run-1", {**os.environ, "MLFLOW_TRACKING_URI": ""})
    assert started is not None
    assert started.finish(timeout_s=120) == ""
    assert started.process.returncode == 0
    assert count_open(workspace.database) == 0
    assert (tmp_path / "mlflow.db").exists()
    assert list(tmp_path.glob("mlartifacts/study/*/artifacts/report.html"))


def test_a_run_without_numbers_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """What its grid reports is a column of missing numbers, no reason to deliver nothing."""
    grid = "version: 1\nreport: {metrics: [acc]}\n"
    with find_workspace(str(tmp_path), environment={}) as found:
        store_run(found.database, fake_results({"a": {1: {"loss": 1.0}}}), grid_yaml=grid)
        files = report_files(found.database, "run-1")
    assert "acc" in files["report.txt"] and files["grid.yaml"] == grid
    assert json.loads(files["report.json"])["metrics"][0]["name"] == "acc"


def test_what_is_left_is_told_with_its_cause(workspace: Workspace) -> None:
    (message, _) = open_messages(workspace.database)
    note_failure(workspace.database, message, "run-1: RuntimeError: no", refused=True)
    ended = subprocess.Popen(["true"])
    told = tracker.Tracker(ended, workspace).finish()
    assert told.startswith(
        "2 messages for MLflow could not be delivered (run-1: RuntimeError: no) and are kept"
    )
    assert [each.message for each in diagnose(workspace, "none") if each.name == "tracking"] == [
        "2 messages wait for MLflow; run-1: RuntimeError: no; `workflows resume` tries again"
    ]


@pytest.mark.parametrize(("left", "told"), [(0, ""), (1, " (1 message left)")])
def test_nothing_is_counted_where_nothing_is_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, left: int, told: str
) -> None:
    monkeypatch.setattr(tracker, "count_open", lambda database: left)
    with subprocess.Popen(["sleep", "30"]) as busy:
        said = tracker.Tracker(busy, workspace).finish(timeout_s=0.01)
        busy.kill()
    assert said == f"MLflow is still being written in the background{told}"
