"""The journal's promises, on every database that is at hand."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database import journal_statements, schema, step_rows
from threedrs_platform.database.claims import CellKey, Claim, Outcome
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.events import read_events
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.owners import Owner, process_start, this_host, this_owner
from threedrs_platform.database.past_costs import History
from threedrs_platform.database.progress import run_progress
from threedrs_platform.database.runs import Runs, Submission
from threedrs_platform.database.spending import measured_steps
from threedrs_platform.database.step_rows import StepEntry, StepReader
from threedrs_platform.errors import ConflictError
from threedrs_platform.identity.recipes import CodeDigest, make_recipe
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import FailureClass, StepState
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.testing.fake_cells import fake_cell, fake_step

CELL = CellKey("cell", 0)
LEASE_S = 60.0


@pytest.fixture(params=database_kinds())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as url:
        opened = open_database(url)
        yield opened
        opened.close()


@pytest.fixture
def journal(database: Database) -> Journal:
    return Journal(database)


def other(database: Database) -> Journal:
    """Another supervisor of this process."""
    return Journal(database, str(this_owner()))


def submit(database: Database, *, invalid: bool = False) -> tuple[str, str]:
    """A run with one cell of one step; returns run id and step key."""
    spec = fake_step()
    recipe = make_recipe(spec, CodeDigest("c0de", {}), {})
    entry = StepEntry(recipe.key(), spec, recipe, True, "new", is_invalid=invalid)
    links = {CELL: {"noop": recipe.key()}}
    submission = Submission("demo", "demo.yaml", "version: 1", {})
    run = Runs(database).submit(submission, [fake_cell("cell", {"noop": spec})], links, [entry])
    return run, recipe.key()


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {"digest": "d" * 64, "content_key": "content", "input_digests": {}}
    return Outcome(**(values | {"seconds": 2.0} | changes))


def claim(journal: Journal, run: str, key: str, lease_s: float = LEASE_S) -> Claim:
    found = journal.claim(run, key, lease_s)
    assert found is not None
    return found


def state(journal: Journal, key: str) -> StepState:
    return journal.rows([key])[key].state


def attempts(database: Database, key: str) -> list[tuple[int, str]]:
    table = schema.attempts
    query = select(table.c.n, table.c.state).where(table.c.step_key == key).order_by(table.c.n)
    with database.read() as connection:
        return [(row.n, row.state) for row in connection.execute(query)]


def test_a_step_is_claimed_once(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    assert claim(journal, run, key).epoch == 1
    assert other(database).claim(run, key, LEASE_S) is None
    assert journal.claim(run, key, LEASE_S) is None
    assert state(journal, key) is StepState.RUNNING


def test_a_commit_keeps_everything_that_was_reported(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    mine = claim(journal, run, key)
    reported = outcome(
        metrics=[Metric("acc", 50.0, n=4, chance=25.0, ci95=(40.0, 60.0))],
        scores=[SampleScore("acc", f"s{i}", "scene", 1.0) for i in range(4)],
        curves=[CurvePoint(1, "loss", 0.5)],
    )
    assert journal.commit(run, mine, reported, [CELL])
    with database.read() as connection:
        metric = connection.execute(select(schema.metrics)).one()
        counts = [
            connection.scalar(select(func.count()).select_from(table))
            for table in (schema.sample_scores, schema.curves, schema.artifacts, schema.outbox)
        ]
    assert (metric.step_key, metric.value, metric.ci_low, metric.chance) == (key, 50.0, 40.0, 25.0)
    assert counts == [4, 1, 1, 2]
    assert attempts(database, key) == [(1, "committed")]
    assert Runs(database).cell_states(run) == {CELL: StepState.SUCCEEDED}


def test_a_step_is_committed_once(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    mine = claim(journal, run, key)
    assert journal.commit(run, mine, outcome())
    assert not journal.commit(run, mine, outcome(digest="e" * 64))
    assert journal.rows([key])[key].output_digest == "d" * 64


def test_a_stale_commit_is_rejected_and_told(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    zombie = claim(journal, run, key, lease_s=-1)
    second = other(database)
    heir = claim(second, run, key)
    assert heir.epoch == zombie.epoch + 1
    assert not journal.commit(run, zombie, outcome(metrics=[Metric("acc", 1.0, 1)]))
    assert not journal.fail(run, zombie, FailureClass.BUG, "too late")
    assert second.commit(run, heir, outcome(digest="e" * 64))
    assert journal.rows([key])[key].output_digest == "e" * 64
    assert attempts(database, key) == [(1, "lost"), (2, "committed")]
    assert "step.lost" in [event.type for event in read_events(database, run)]


def test_an_older_attempt_of_the_same_owner_is_stale_too(
    database: Database, journal: Journal
) -> None:
    run, key = submit(database)
    older = claim(journal, run, key)
    assert journal.fail(run, older, FailureClass.INFRA, "timed out", 0.0)
    newer = claim(journal, run, key)
    assert newer.epoch == older.epoch + 1
    assert not journal.commit(run, older, outcome())
    assert not journal.fail(run, older, FailureClass.BUG, "too late")
    assert journal.commit(run, newer, outcome(digest="e" * 64))
    assert journal.rows([key])[key].output_digest == "e" * 64


def test_a_lease_is_held_until_it_expires(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    claim(journal, run, key, lease_s=1.0)
    waiting = other(database)
    assert waiting.claim(run, key, LEASE_S) is None
    time.sleep(1.1)
    assert waiting.rows([key])[key].is_abandoned
    assert waiting.claim(run, key, LEASE_S) is not None


def test_a_renewed_lease_does_not_expire(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    claim(journal, run, key, lease_s=0.2)
    journal.renew(LEASE_S)
    time.sleep(0.3)
    assert not journal.rows([key])[key].is_abandoned
    assert other(database).claim(run, key, LEASE_S) is None


def test_the_lease_of_a_dead_process_is_taken_at_once(database: Database) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner(this_host(), child.pid, process_start(child.pid), "t")
    run, key = submit(database)
    claim(Journal(database, str(owner)), run, key, lease_s=3600)
    heir = other(database)
    assert heir.claim(run, key, LEASE_S) is None
    child.communicate()
    assert claim(heir, run, key).epoch == 2
    assert attempts(database, key) == [(1, "lost"), (2, "running")]


def test_the_lease_of_another_host_is_never_taken_early(database: Database) -> None:
    run, key = submit(database)
    claim(Journal(database, "elsewhere/boot/1|1|1|t"), run, key, lease_s=3600)
    assert other(database).claim(run, key, LEASE_S) is None


def test_a_failed_attempt_may_be_retried_or_final(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    assert journal.fail(run, claim(journal, run, key), FailureClass.INFRA, "hiccup", 0.5)
    assert state(journal, key) is StepState.PENDING
    assert journal.fail(run, claim(journal, run, key), FailureClass.BUG, "broken")
    row = journal.rows([key])[key]
    assert (row.state, row.failure, row.message) == (StepState.FAILED, "bug", "broken")
    assert attempts(database, key) == [(1, "failed"), (2, "failed")]
    assert journal.claim(run, key, LEASE_S) is None


def test_a_released_step_can_be_claimed_by_anybody(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    journal.release(run, [claim(journal, run, key)], "interrupted")
    assert claim(other(database), run, key).epoch == 2


def test_submitting_again_reopens_a_failed_step(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    journal.fail(run, claim(journal, run, key), FailureClass.BUG, "broken")
    submit(database)
    assert state(journal, key) is StepState.PENDING


def test_submitting_again_leaves_a_running_step_alone(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    mine = claim(journal, run, key)
    submit(database, invalid=True)
    assert journal.commit(run, mine, outcome())


def test_an_invalid_result_is_computed_again(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    journal.commit(run, claim(journal, run, key), outcome(metrics=[Metric("acc", 1.0, 1)]))
    submit(database)
    assert state(journal, key) is StepState.SUCCEEDED
    again, _ = submit(database, invalid=True)
    journal.commit(again, claim(journal, again, key), outcome(metrics=[Metric("acc", 2.0, 1)]))
    with database.read() as connection:
        assert list(connection.scalars(select(schema.metrics.c.value))) == [2.0]


def test_an_adopted_step_has_the_reports_of_its_twin(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    reported = outcome(
        metrics=[Metric("acc", 50.0, n=4)], scores=[SampleScore("acc", "s", "scene", 1.0)]
    )
    journal.commit(run, claim(journal, run, key), reported)
    spec = fake_step(version=2)
    recipe = make_recipe(spec, CodeDigest("n3w", {}), {})
    entry = StepEntry(recipe.key(), spec, recipe, True, "code changed")
    links = {CELL: {"noop": recipe.key()}}
    again = Runs(database).submit(
        Submission("demo", "", "", {}), [fake_cell("cell", {"noop": spec})], links, [entry]
    )
    twin = journal.with_content(["content"])["content"]
    assert journal.adopt(again, recipe.key(), twin, {}, [CELL])
    assert journal.rows([recipe.key()])[recipe.key()].output_digest == "d" * 64
    with database.read() as connection:
        keys = connection.scalars(select(schema.metrics.c.step_key)).all()
        scores = connection.scalar(select(func.count()).select_from(schema.sample_scores))
    assert set(keys) == {key, recipe.key()} and scores == 2
    assert not journal.adopt(again, recipe.key(), twin, {})


def test_events_are_numbered_without_gaps(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    journal.release(run, [claim(journal, run, key)], "interrupted")
    journal.commit(run, claim(journal, run, key), outcome(), [CELL])
    events = read_events(database, run)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events] == [
        "run.submitted",
        "step.started",
        "step.released",
        "step.started",
        "step.succeeded",
        "cell.succeeded",
    ]
    assert [event.seq for event in read_events(database, run, after=4)] == [5, 6]
    assert events[1].as_json()["schema"] == "workflows.event/1"


def test_costs_are_the_means_of_what_succeeded(database: Database, journal: Journal) -> None:
    run, key = submit(database)
    assert journal.past_costs(journal.recipes_of([key])).of(key) is None
    journal.commit(run, claim(journal, run, key), outcome(seconds=3.0, size=100))
    assert journal.past_costs(journal.recipes_of([key])).of(key) == History(1, 3.0, 100.0)


def test_what_many_newer_steps_read_is_known(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few of a kind tell, yet what they read may be as old as the journal."""
    monkeypatch.setattr(step_rows, "TELLING", 2)
    rows = [recipe_row(0, "scenes", {}), recipe_row(1, "extract", {"scenes": "step-0"})]
    rows += [recipe_row(at, "predict", {"scenes": "step-0"}) for at in range(2, 6)]
    with database.write() as connection:
        connection.execute(schema.steps.insert(), rows)
    reads = {"params": {}, "inputs": {"scenes": "of"}}
    new = {kind: {"kind": kind, **reads} for kind in ("extract", "predict")}
    costs = journal.past_costs(new | {"of": {"kind": "scenes", "params": {}, "inputs": {}}})
    assert costs.of("extract") == History(1, 1.0, 0.0)
    assert costs.of("predict") == History(2, 4.5, 0.0)


def test_what_is_left_is_told_again_without_reading_a_recipe(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages look every few seconds, at runs of thousands of steps."""
    run, key = submit(database)
    recipe = journal.recipes_of([key])[key]
    done = recipe_row(1, recipe["kind"], {}) | {"seconds": 1000.0}
    done |= {"recipe_json": json.dumps(recipe)}
    with database.write() as connection:
        connection.execute(schema.steps.insert(), done)
    Runs(database).start(run, str(this_owner()), LEASE_S)
    claim(journal, run, key)
    first = run_progress(database, run).eta_s
    assert first == pytest.approx(1000.0, abs=60.0)
    monkeypatch.setattr(StepReader, "recipes_of", None)
    assert run_progress(database, run).eta_s == pytest.approx(first, abs=60.0)


def test_many_newer_predictions_hide_no_measured_training(database: Database) -> None:
    rows = [recipe_row(at, "predict" if at else "finetune", {}) for at in range(4)]
    spec = {"spec_json": json.dumps({"resources": {"gpus": 1}, "params": {}})}
    tries = [
        {"step_key": row["key"], "n": 1, "run_id": "run", "state": "committed", "gpu_s": 1.0}
        | {"owner": "", "epoch": 1, "started_at": 0.0}
        for row in rows
    ]
    with database.write() as connection:
        steps = [row | spec | {"canonical_attempt": 1} for row in rows]
        connection.execute(schema.steps.insert(), steps)
        connection.execute(schema.attempts.insert(), tries)
    found = [each.key for each in measured_steps(database, limit=2)]
    assert found == ["step-3", "step-2", "step-0"]


def test_a_kind_of_which_there_are_many_crowds_no_other_out(database: Database) -> None:
    rows = [recipe_row(at, "predict" if at else "teacher", {}) for at in range(5)]
    with database.write() as connection:
        connection.execute(schema.steps.insert(), rows)
    reader, kinds = StepReader(database), ("predict", "teacher")
    assert [row.key for row, _ in reader.recipes(kinds, 3)] == ["step-4", "step-0", "step-3"]
    assert len(reader.recipes(kinds, most=None)) == 5


def test_what_is_committed_is_looked_up_by_key(database: Database) -> None:
    """Not by its owner, who may have done a hundred thousand steps before."""
    if not database.is_sqlite:
        pytest.skip("SQLite tells how it will look")
    with database.read() as connection:
        text, order, _ = journal_statements.HELD.of_sqlite._for(connection)
        arguments = ("[]",) * len(order or ())
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", arguments).all()
    assert "(key=?)" in plan[0][3]


def recipe_row(at: int, kind: str, inputs: dict[str, str]) -> dict[str, Any]:
    recipe = json.dumps({"kind": kind, "params": {}, "inputs": inputs})
    row: dict[str, Any] = {
        "key": f"step-{at}",
        "kind": kind,
        "label": "",
        "reason": "",
        "recipe_json": recipe,
    }
    row |= {"state": "succeeded", "seconds": float(at), "spec_json": "{}", "epoch": 0}
    return row | {"created_at": float(at), "updated_at": float(at)}


def test_thousands_of_steps_are_looked_up_in_few_queries(journal: Journal) -> None:
    assert journal.rows([f"{i:064x}" for i in range(12_000)]) == {}


def test_a_clock_that_is_ahead_steals_no_step_of_a_process_at_work(
    database: Database, journal: Journal
) -> None:
    """SQLite's clock is each client's own; a server's is one for all."""
    run, key = submit(database)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as worker:
        owner = str(Owner(this_host(), worker.pid, process_start(worker.pid), "it"))
        assert Journal(database, owner).claim(run, key, -120.0) is not None
        Runs(database).start(run, owner, -120.0)
        if database.is_sqlite:
            assert journal.claim(run, key, 0.2) is None
            assert Runs(database).get(run).has_live_owner
            with pytest.raises(ConflictError):
                Runs(database).start(run, journal.owner, LEASE_S)
            time.sleep(0.3)  # not renewed for as long as a lease lasts
        assert journal.claim(run, key, 0.2) is not None
        worker.kill()


def test_a_claim_whose_answer_was_lost_is_still_held(
    database: Database, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("no answer of a file is lost")
    run, key = submit(database)
    commit, lost = database.engine.dialect.do_commit, [True]

    def losing(connection: Any) -> None:
        commit(connection)
        if lost and lost.pop():
            raise psycopg.errors.AdminShutdown("terminating connection")

    psycopg = pytest.importorskip("psycopg")
    monkeypatch.setattr(database.engine.dialect, "do_commit", losing)
    assert journal.claim(run, key, LEASE_S) == Claim(key, 1)
    assert [event.type for event in read_events(database, run)] == [
        "run.submitted",
        "step.started",
    ]
