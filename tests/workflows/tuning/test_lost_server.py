"""Tuning while its server is lost, at any statement, and while its lock is held by another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from threedrs_platform.database import studies
from threedrs_platform.database.studies import exclusively, patiently
from threedrs_platform.database.trials import StudyView
from threedrs_platform.database.turns import TurnLost
from threedrs_platform.testing.broken_statements import cut
from threedrs_platform.testing.databases import POSTGRES_VARIABLE, fresh_database
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.testing import tuning_worker
from threedrs_workflows.testing.disturbances import hurried
from threedrs_workflows.testing.tuning_worker import FakeTrials, session_of

Write = Callable[..., Path]
TRIALS = 4


class CutConnections:
    """Context in which connections of PostgreSQL are cut before some statements, whosever they are.

    Optuna has an engine of its own, so the statements of all engines are counted.
    """

    def __init__(self, first: int, every: int) -> None:
        self._next, self._every = first, every
        self.seen = self.met = 0

    def __enter__(self) -> CutConnections:
        event.listen(Engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *exception: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._count)

    def _count(self, connection: object, cursor: object, *_: object) -> None:
        self.seen += 1
        if self.seen == self._next:
            self._next += self._every
            self.met += 1
            cut(cursor.connection)  # type: ignore[attr-defined]


def tune(workspace: Workspace, path: Path, ledger: Path) -> StudyView:
    session = session_of(workspace, load_cells(path), FakeTrials(str(ledger)))
    tuning_worker.work(workspace, session)
    (study,) = session.studies
    return study.view(with_importance=False)


@pytest.mark.skipif(not os.environ.get(POSTGRES_VARIABLE), reason="needs PostgreSQL")
@pytest.mark.parametrize("first", [3, 120, 237, 354])
def test_a_search_outlives_connections_to_postgresql_that_are_cut(
    first: int, write: Write, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    with (
        fresh_database("postgresql", tmp_path) as url,
        find_workspace(str(tmp_path / "w"), url, environment={}) as workspace,
        hurried(),
    ):
        assert workspace.runs is not None  # a server that never answered might be a wrong address
        with CutConnections(first, every=467) as cuts:
            found = tune(workspace, write(trials=TRIALS), ledger)
        assert cuts.met >= 2
        assert found.counts == {"complete": TRIALS}
        assert len(ledger.read_text().splitlines()) == TRIALS
        assert len({trial.cell_id for trial in found.trials}) == TRIALS


@pytest.mark.parametrize(
    "kind",
    [
        "sqlite",
        pytest.param(
            "postgresql",
            marks=pytest.mark.skipif(
                not os.environ.get(POSTGRES_VARIABLE), reason="needs PostgreSQL"
            ),
        ),
    ],
)
def test_a_lock_that_another_keeps_is_told_and_waited_for_within_bounds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "LOCK_S", 0.05)
    with (
        fresh_database(kind, tmp_path) as url,
        find_workspace(str(tmp_path / "one"), url, environment={}) as workspace,
        find_workspace(str(tmp_path / "one"), url, environment={}) as other,
        exclusively(other, "grid-0"),
    ):

        def wait() -> None:
            with exclusively(workspace, "grid-0"):
                pass

        with workspace.database.patience(0.3), pytest.raises(TurnLost, match="held by"):
            patiently(workspace, wait)
