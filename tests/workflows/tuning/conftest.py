"""Grids with a `tune:` section, and workspaces to tune in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from threedrs_platform.database.trials import StudyView
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.testing import tuning_worker
from threedrs_workflows.testing.tuning_worker import FakeTrials, session_of
from threedrs_workflows.tuning.arm_study import Chosen
from threedrs_workflows.tuning.session import Session

SPACE: dict[str, Any] = {
    "alignment.weight": {"float": [0.1, 10.0], "log": True},
    "alignment.layers": {"categorical": [[-1], [1], [2]]},
}
Write = Callable[..., Path]
Tune = Callable[..., tuple[Session, list[StudyView]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a grid whose `tune:` section has these changes."""

    def grid(base: dict[str, Any] | None = None, **tune: Any) -> Path:
        sections = tune.pop("sections", {})
        section = {"space": SPACE, "metric": "scanrefer/acc@0.25", "trials": 6, **tune}
        content = {
            "version": 1,
            "name": "demo",
            "base": {"preset": "micro", "teacher": "vggt", **(base or {})},
            **sections,
            "tune": {key: value for key, value in section.items() if value is not None},
        }
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return grid


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A fresh workspace."""
    with find_workspace(str(tmp_path / "workspace"), environment={}) as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where fake trials note that they have begun."""
    return tmp_path / "ledger"


@pytest.fixture
def trials(ledger: Path) -> FakeTrials:
    """How fake trials are made; tests change their code and data here."""
    return FakeTrials(str(ledger))


@pytest.fixture
def tune(workspace: Workspace, trials: FakeTrials) -> Tune:
    """Tunes a grid with fake trials to the end."""

    def work(
        path: Path, seconds: float = 0.0, again: Chosen | None = None
    ) -> tuple[Session, list[StudyView]]:
        trials.seconds = seconds
        workspace.code.forget()
        session = session_of(workspace, load_cells(path), trials, again)
        if not session.tuner.is_over:
            tuning_worker.work(workspace, session)
        return session, [study.view() for study in session.studies]

    return work
