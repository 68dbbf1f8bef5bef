"""`workflows report` writes the files, logs them with the run in MLflow, and tells its faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from threedrs_platform.database.connection import open_database
from threedrs_platform.database.results import Results
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.tracking.delivery import attach_folder, local_target
from threedrs_platform.tracking.names import CELL, RUN
from threedrs_workflows.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    database = open_database(sqlite_url(tmp_path / "results.db"))
    values = {"baseline": {1: {"scanqa/em@1": 20.0}}, "vggt": {1: {"scanqa/em@1": 30.0}}}
    store_run(database, fake_results(values))
    database.close()

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["report", *words, "--workspace", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_files_are_written_and_listed(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "paper"
    code, said, _ = run("run-1", "--out", str(out), "--no-mlflow", "--json")
    content = json.loads(said)
    assert code == 0 and content["schema"] == "workflows.report/1" and not content["tracked"]
    assert str(out / "report.html") in content["files"]
    assert all(Path(file).is_file() for file in content["files"])


def test_an_unknown_run_and_a_closed_folder_are_faults(run: Run, tmp_path: Path) -> None:
    assert run("run-9")[0] == 2
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _, said = run("run-1", "--no-mlflow", "--out", str(tmp_path / "file" / "out"))
    assert code == 75 and "write the report" in said and "Traceback" not in said
    code, _, said = run("run-1", "--no-mlflow", "--out", "/proc/nope")
    assert code == 75 and "cannot write the report to /proc/nope: no folder can be made" in said


@pytest.mark.slow
def test_files_are_logged_with_the_parent_run_once(run: Run, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    target = local_target(tmp_path, None)
    summary = Results(open_database(sqlite_url(tmp_path / "results.db"))).find_run("run-1")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "report.html").write_text("one", encoding="utf-8")
    assert "does not know run run-1" in attach_folder(target, summary, folder, "report")
    client = MlflowClient(target.uri)
    experiment = client.create_experiment(summary.name, (tmp_path / "mlartifacts").as_uri())
    parent = client.create_run(experiment, tags={RUN: "run-1", CELL: "-"}).info.run_id
    for text in ("one", "two"):
        (folder / "report.html").write_text(text, encoding="utf-8")
        assert attach_folder(target, summary, folder, "report") == ""
    assert [each.path for each in client.list_artifacts(parent, "report")] == ["report/report.html"]
    (kept,) = (tmp_path / "mlartifacts").rglob("report.html")
    assert kept.read_text(encoding="utf-8") == "two"
