"""The kept table is the table, and is made anew as soon as anything it shows changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from threedrs_platform.database.schema import runs, steps
from threedrs_platform.errors import ConfigError
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.reports import kept_table
from threedrs_workflows.reports.kept_table import Look, table_text

NUMBERS = {"baseline": {1: {"acc": 50.0}}, "vggt": {1: {"acc": 60.0}}}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with find_workspace(str(tmp_path / "ws"), environment={}) as found:
        yield found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs whose table was made, not found."""
    seen: list[str] = []
    make = kept_table._make

    def counted(database: object, run_id: str, look: Look) -> str:
        seen.append(run_id)
        return make(database, run_id, look)  # type: ignore[arg-type]

    monkeypatch.setattr(kept_table, "_make", counted)
    return seen


def test_a_second_run_of_the_same_steps_shows_the_same_numbers_under_its_own_id(
    workspace: Workspace, made: list[str]
) -> None:
    store_run(workspace.database, fake_results(NUMBERS))
    first = table_text(workspace, "run-1")
    assert "60.0" in first and "run-1" in first
    assert table_text(workspace, "run-1") == first
    assert made == ["run-1"]
    assert max(map(len, table_text(workspace, "run-1", Look(width=60)).splitlines())) <= 60
    assert made == ["run-1", "run-1"]


def test_every_way_to_look_has_a_text_of_its_own(workspace: Workspace, made: list[str]) -> None:
    store_run(workspace.database, fake_results(NUMBERS))
    looks = [
        Look(),
        Look(metrics=("acc",)),
        Look(baseline="vggt"),
        Look(style="csv"),
        Look(style="latex", pivot=True),
        Look(style="data"),
        Look(shared=True),
    ]
    texts = [table_text(workspace, "run-1", look) for look in looks]
    assert [table_text(workspace, "run-1", look) for look in looks] == texts
    assert len(made) == len(looks)
    with pytest.raises(ConfigError, match="no cell is called"):
        table_text(workspace, "run-1", Look(baseline="nobody"))


@pytest.mark.parametrize(
    "change",
    [
        update(steps).values(output_digest="f" * 64),
        update(steps).values(canonical_attempt=7),
        update(steps).values(state="failed"),
        update(runs).values(grid_yaml="report: {metrics: [acc]}"),
    ],
)
def test_another_output_attempt_state_or_grid_makes_the_table_anew(
    workspace: Workspace, made: list[str], change: object
) -> None:
    store_run(workspace.database, fake_results(NUMBERS))
    table_text(workspace, "run-1")
    with workspace.database.write() as connection:
        connection.execute(change)  # type: ignore[call-overload]
    table_text(workspace, "run-1")
    assert made == ["run-1", "run-1"]


def test_old_tables_are_forgotten(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_table, "MOST_KEPT", 2)
    store_run(workspace.database, fake_results(NUMBERS))
    for attempt in range(4):
        with workspace.database.write() as connection:
            connection.execute(update(steps).values(canonical_attempt=attempt))
        table_text(workspace, "run-1")
    assert len(list((workspace.root / "cache" / "tables").iterdir())) == 2


def test_a_smoke_run_of_the_same_steps_says_so_in_a_table_of_its_own(
    workspace: Workspace, made: list[str]
) -> None:
    store_run(workspace.database, fake_results(NUMBERS))
    plain = table_text(workspace, "run-1")
    with workspace.database.write() as connection:
        connection.execute(update(runs).values(options_json='{"smoke": true}'))
    assert table_text(workspace, "run-1") != plain
    assert made == ["run-1", "run-1"]
