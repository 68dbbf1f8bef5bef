"""What a report of a run says beside its numbers."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import update

from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import cell_steps, steps
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.reports.run_report import run_report


def test_annotation_files_are_told_by_their_digests(tmp_path: Path) -> None:
    content = {"records.ScanQA_v1.0_val.json": "ab" * 32, "benchmarks.annotations": "cd" * 32}
    spec = json.dumps({"params": {"content": content}})
    with find_workspace(str(tmp_path / "ws"), environment={}) as workspace:
        store_run(workspace.database, fake_results({"baseline": {1: {"acc": 50.0}}}))
        assert not [each for each in _notes(workspace.database) if "sha256" in each]
        with workspace.database.write() as connection:
            connection.execute(update(cell_steps).values(role="samples"))
            connection.execute(update(steps).values(spec_json=spec))
        (told,) = [each for each in _notes(workspace.database) if "sha256" in each]
    assert told.endswith(": ScanQA_v1.0_val.json abababababab")


def _notes(database: Database) -> tuple[str, ...]:
    return run_report(database, "run-1").notes
