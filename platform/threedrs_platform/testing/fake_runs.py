"""Puts results into a database as if a run had made them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import CellResult, RunResults, StepSummary
from threedrs_platform.database.results import write_measurements
from threedrs_platform.records import SampleScore
from threedrs_platform.states import AttemptState, StepState


def store_run(
    database: Database,
    results: RunResults,
    scores: Mapping[str, Sequence[SampleScore]] | None = None,
    points: Mapping[str, Sequence[CurvePoint]] | None = None,
    grid_yaml: str = "version: 1\n",
    logs: Path | None = None,
) -> None:
    """Write a run, its cells, steps and measurements.

    Args:
        database: where to.
        results: the run; a step's metrics are those of its cell that name its key.
        scores: step key -> per-sample scores.
        points: step key -> curve points.
        grid_yaml: the grid as submitted.
        logs: folder of attempt logs; with one, every step that began has an attempt.
    """
    run = results.run
    with database.write() as connection:
        connection.execute(
            schema.runs.insert(),
            {
                "id": run.run_id,
                "name": run.name,
                "state": run.state,
                "grid_file": run.grid_file,
                "grid_yaml": grid_yaml,
                "spec_digest": "0" * 12,
                "options_json": "{}",
                "created_at": run.created_at,
                "finished_at": run.finished_at,
                "cancel_requested": False,
                "last_seq": 0,
            },
        )
        known: set[str] = set()
        for position, cell in enumerate(results.cells):
            _store_cell(connection, run.run_id, position, cell)
            fresh = [step for step in cell.steps if step.key not in known]
            _store_steps(connection, run.run_id, cell, known)
            for step in fresh:
                if logs is not None and step.state in _ATTEMPT_STATES:
                    _store_attempt(connection, run.run_id, step, logs)
        for key in sorted(known):
            reported = {
                name: each.metric
                for cell in results.cells
                for name, each in cell.measurements.items()
                if each.step_key == key
            }
            write_measurements(
                connection,
                key,
                list(reported.values()),
                (scores or {}).get(key, ()),
                (points or {}).get(key, ()),
            )


_ATTEMPT_STATES = {
    StepState.SUCCEEDED: AttemptState.COMMITTED,
    StepState.FAILED: AttemptState.FAILED,
    StepState.RUNNING: AttemptState.RUNNING,
}


def _store_attempt(connection: Connection, run_id: str, step: StepSummary, logs: Path) -> None:
    folder = logs / step.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.log").write_text(f"output of {step.key}\n", encoding="utf-8")
    connection.execute(
        schema.attempts.insert(),
        {
            "step_key": step.key,
            "n": 1,
            "run_id": run_id,
            "owner": "nobody",
            "state": _ATTEMPT_STATES[step.state],
            "started_at": time.time() - 10,
            "ended_at": None if step.state is StepState.RUNNING else time.time(),
            "node": "laptop",
            "failure": "oom" if step.state is StepState.FAILED else None,
            "message": step.cause or None,
            "log_file": str(folder / "1.log"),
            "seconds": 9.0,
        },
    )


def _store_cell(connection: Connection, run_id: str, position: int, cell: CellResult) -> None:
    connection.execute(
        schema.cells.insert(),
        {
            "run_id": run_id,
            "cell_id": cell.cell_id,
            "seed": cell.seed,
            "position": position,
            "name": cell.name,
            "label": cell.label,
            "params_json": json.dumps(dict(cell.params)),
            "state": cell.state,
            "cancel_requested": False,
        },
    )


def _store_steps(connection: Connection, run_id: str, cell: CellResult, known: set[str]) -> None:
    for order, step in enumerate(cell.steps):
        connection.execute(
            schema.cell_steps.insert(),
            {
                "run_id": run_id,
                "cell_id": cell.cell_id,
                "seed": cell.seed,
                "role": step.role,
                "step_key": step.key,
            },
        )
        if step.key in known:
            continue
        known.add(step.key)
        connection.execute(
            schema.steps.insert(),
            {
                "key": step.key,
                "kind": step.kind,
                "label": "",
                "state": step.state,
                "reason": "new",
                "recipe_json": json.dumps(
                    {"kind": step.kind, "code": f"code-of-{step.kind}", "params": {}, "inputs": {}}
                ),
                "spec_json": "{}",
                "output_digest": step.output_digest,
                "epoch": 1,
                "canonical_attempt": 1 if step.state is StepState.SUCCEEDED else None,
                "failure": "oom" if step.state is StepState.FAILED else None,
                "message": step.cause or None,
                "created_at": float(order),
                "updated_at": float(order),
            },
        )
