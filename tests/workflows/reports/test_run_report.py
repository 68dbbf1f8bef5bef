"""What a report of a run says beside its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import update

from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import cell_steps, runs, steps
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


def test_a_smoke_run_judges_nothing(tmp_path: Path) -> None:
    values = {
        "baseline": {1: {"scanrefer/acc@0.25": 20.0}},
        "vggt": {1: {"scanrefer/acc@0.25": 50.0}},
    }
    taught = {"teacher": "3d", "teachers": {"3d": {"kind": "vggt"}}, "alignment": {"weight": 3.0}}
    params: dict[str, dict[str, Any]] = {"baseline": {"teacher": "none"}, "vggt": taught}
    with find_workspace(str(tmp_path / "ws"), environment={}) as workspace:
        store_run(workspace.database, fake_results(values, params))
        assert run_report(workspace.database, "run-1").findings
        with workspace.database.write() as connection:
            connection.execute(update(runs).values(options_json=json.dumps({"smoke": True})))
        report = run_report(workspace.database, "run-1")
    assert not report.findings and report.opening[0].startswith("Tiny sizes")


def test_cells_that_are_not_shown_are_tested_all_the_same(tmp_path: Path) -> None:
    """What `where` leaves over has the marks that the whole run gives it."""
    values = {
        name: {seed: {"scanqa/em@1": base + seed} for seed in (1, 2, 3)}
        for name, base in (("baseline", 20.0), ("a", 45.0), ("b", 21.0))
    }
    with find_workspace(str(tmp_path / "ws"), environment={}) as workspace:
        store_run(workspace.database, fake_results(values))
        whole = run_report(workspace.database, "run-1")
        some = run_report(workspace.database, "run-1", where="label == 'a'")
    assert {row.title for row in some.table.rows} == {"baseline", "a"}
    key = ("id-a", "scanqa/em@1")
    assert some.differences[key] == whole.differences[key] and len(some.family) == 2


def _notes(database: Database) -> tuple[str, ...]:
    return run_report(database, "run-1").notes
