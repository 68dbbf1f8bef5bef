"""Curves of a training that goes on grow while their page is open."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update
from tests.dashboards.browser.conftest import serving

from threedrs_platform.database import schema
from threedrs_platform.database.connection import open_database
from threedrs_platform.database.measurements import CellResult, RunResults, RunSummary, StepSummary
from threedrs_platform.database.owners import this_owner
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.states import RunState, StepState
from threedrs_platform.testing.fake_runs import store_run

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e

CELLS = ("baseline", "vggt")
DRAWN = "return document.querySelector('#curves [data-plot]')?.data.map((each) => each.x.length)"


def log(root: Path, cell: str, steps: range) -> None:
    """What a training appends beside its log."""
    with (root / "logs" / f"key-{cell}" / "1.jsonl").open("a", encoding="utf-8") as file:
        for step in steps:
            line = {"kind": "curve", "step": step, "values": {"loss": 1.0 / step}}
            file.write(json.dumps(line) + "\n")


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A run whose two trainings go on in this process, and the address of its pages."""
    monkeypatch.setattr("threedrs_dashboards.store.LIVE_S", 1)
    database = open_database(sqlite_url(tmp_path / "results.db"))
    cells = tuple(
        CellResult(cell, cell, 1, "", {},
                   (StepSummary("finetune", f"key-{cell}", "finetune", StepState.RUNNING),))
        for cell in CELLS
    )  # fmt: skip
    run = RunResults(RunSummary("run-1", "study", RunState.RUNNING, 1.0), cells)
    store_run(database, run, logs=tmp_path / "logs")
    owned = update(schema.runs).values(owner=str(this_owner()), lease_until=time.time() + 600)
    with database.write() as connection:
        connection.execute(owned)
    database.close()
    for cell in CELLS:
        log(tmp_path, cell, range(1, 4))
    with serving(tmp_path) as address:
        yield tmp_path, address


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/cell?run=run-1&cell=vggt", 1),
        ("/compare?cell=run-1:baseline&cell=run-1:vggt", 2),
    ],
)
def test_a_curve_grows_in_the_plot_that_is_there(
    browser: Browser, training: tuple[Path, str], path: str, lines: int
) -> None:
    root, address = training
    browser.open(address + path)
    assert browser.run(DRAWN) == [3] * lines
    browser.run("document.querySelector('#curves [data-plot]').mine = true")
    for cell in CELLS:
        log(root, cell, range(4, 9))
    browser.wait_for(f"{DRAWN}.every((length) => length === 8)")
    assert browser.run("return document.querySelector('#curves [data-plot]').mine") is True
    if lines == 2:
        browser.wait_for("return document.getElementById('at-step').dataset.step === '8'")
        browser.wait_for("return document.getElementById('step-slider').max === '7'")
    browser.driver.get("about:blank")  # no question of this page comes after its server
