from pathlib import Path

import pytest

from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.events import read_events
from threedrs_platform.database.owners import this_owner
from threedrs_platform.database.runs import Runs, Submission
from threedrs_platform.database.step_rows import StepEntry
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import ConfigError, ConflictError
from threedrs_platform.identity.recipes import CodeDigest, make_recipe
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell, Resources, StepSpec
from threedrs_platform.testing.fake_cells import fake_cell, fake_step

OWNER = str(this_owner())
FIRST = fake_step("noop", {"x": 1}, Resources(cpus=2), label="first", settings={"fast": True})
SECOND = fake_step("noop", {"x": 2}, first=FIRST)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(open_database(sqlite_url(tmp_path / "results.db")))


def entries() -> list[StepEntry]:
    first = make_recipe(FIRST, CodeDigest("c", {}), {})
    second = make_recipe(SECOND, CodeDigest("c", {}), {"first": first.key()})
    return [
        StepEntry(recipe.key(), spec, recipe, True, "new")
        for recipe, spec in ((first, FIRST), (second, SECOND))
    ]


def submit(runs: Runs, name: str = "demo", seeds: int = 1) -> str:
    cells = [fake_cell("a", {"first": FIRST, "second": SECOND}, seed) for seed in range(seeds)]
    keys = dict(zip(("first", "second"), (entry.key for entry in entries()), strict=True))
    links = {CellKey("a", seed): keys for seed in range(seeds)}
    return runs.submit(
        Submission(name, "g.yaml", "version: 1", {"smoke": True}), cells, links, entries()
    )


def test_a_run_remembers_what_was_asked_for(runs: Runs) -> None:
    run = runs.get(submit(runs))
    assert (run.name, run.grid_yaml, run.options) == ("demo", "version: 1", {"smoke": True})
    assert run.state is RunState.RUNNING and not run.has_live_owner


def test_cells_come_back_with_their_whole_steps(runs: Runs) -> None:
    cells = runs.cells(submit(runs, seeds=2))
    expected = {"first": FIRST, "second": SECOND}
    assert cells == [Cell("a", "a", seed, {"name": "a"}, expected) for seed in (0, 1)]


def test_a_shared_step_comes_back_as_one_object(runs: Runs) -> None:
    cell = runs.cells(submit(runs))[0]
    spec: StepSpec = cell.steps["second"]
    assert spec.inputs["first"] is cell.steps["first"]


def test_a_run_is_found_by_beginning_by_grid_or_as_the_last(runs: Runs) -> None:
    first, second = submit(runs, "alpha"), submit(runs, "beta")
    assert runs.get(first[:8]).id == first
    assert runs.get("alpha").id == first
    assert runs.get("last").id == second
    newest = submit(runs, "alpha")
    assert runs.get("alpha").id == newest
    assert [run.id for run in runs.recent()] == [newest, second, first]


def test_an_unknown_or_ambiguous_run_is_told(runs: Runs) -> None:
    with pytest.raises(ConfigError, match="there is no run yet"):
        runs.get("last")
    submit(runs), submit(runs)
    with pytest.raises(ConfigError, match="no run is called 'x'"):
        runs.get("x")
    with pytest.raises(ConfigError, match="'dem' fits several runs: demo-"):
        runs.get("dem")


def test_only_one_supervisor_works_on_a_run(runs: Runs) -> None:
    run = submit(runs)
    runs.start(run, OWNER, lease_s=60)
    assert runs.get(run).has_live_owner
    with pytest.raises(ConflictError, match=f"workflows wait {run}"):
        runs.start(run, str(this_owner()), lease_s=60)
    runs.finish(run, OWNER, RunState.INTERRUPTED, {})
    runs.start(run, str(this_owner()), lease_s=60)


def test_an_expired_supervisor_is_replaced(runs: Runs) -> None:
    run = submit(runs)
    runs.start(run, OWNER, lease_s=-1)
    assert not runs.get(run).has_live_owner
    runs.start(run, str(this_owner()), lease_s=60)


def test_a_replaced_supervisor_does_not_end_the_run(runs: Runs) -> None:
    run = submit(runs)
    runs.start(run, OWNER, lease_s=-1)
    runs.start(run, str(this_owner()), lease_s=60)
    runs.finish(run, OWNER, RunState.FAILED, {})
    assert runs.get(run).state is RunState.RUNNING


def test_cancel_requests_are_seen(runs: Runs) -> None:
    run = submit(runs, seeds=2)
    assert runs.cancelled(run) == (False, set())
    runs.request_cancel(run, [CellKey("a", 1)])
    assert runs.cancelled(run) == (False, {CellKey("a", 1)})
    runs.request_cancel(run)
    assert runs.cancelled(run)[0]


def test_steps_that_other_running_runs_want_are_known(runs: Runs) -> None:
    mine, theirs = submit(runs), submit(runs)
    assert runs.wanted_elsewhere(mine) == runs.step_keys(theirs)
    runs.finish_cells(theirs, [CellKey("a", 0)], StepState.SUCCEEDED)
    assert runs.wanted_elsewhere(mine) == set()


def test_a_new_plan_replaces_the_steps_of_a_run(runs: Runs) -> None:
    run = submit(runs)
    first = entries()[:1]
    runs.replan(run, {CellKey("a", 0): {"first": first[0].key}}, first)
    assert runs.step_keys(run) == {first[0].key}
    database: Database = runs.database
    assert [event.type for event in read_events(database, run)] == ["run.submitted", "run.resumed"]
