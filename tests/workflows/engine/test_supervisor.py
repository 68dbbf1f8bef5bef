"""What a supervisor does with success, failure, damage, cancellation and interruption."""

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.in_process import Handle, InProcessCompute
from threedrs_platform.database import schema
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.events import read_events
from threedrs_platform.database.owners import this_owner
from threedrs_platform.errors import ConflictError, StorageError
from threedrs_platform.identity.recipes import CodeDigest
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.states import AttemptState, FailureClass, RunState, StepState
from threedrs_platform.steps import Cell, Resources
from threedrs_platform.store.artifacts import Health
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step, fans
from threedrs_platform.testing.store_contract import corrupt_file
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.engine.outcomes import MAX_GIVEN_BACK
from threedrs_workflows.testing.engine_bench import Engine, reasons


def executions(ledger: Path) -> list[str]:
    """Ids of the steps that were executed, in order."""
    return [line.split()[1] for line in ledger.read_text().splitlines()] if ledger.exists() else []


def event_types(engine: Engine) -> list[str]:
    return [event.type for event in read_events(engine.workspace.database, engine.run_id)]


def test_a_grid_runs_and_shared_steps_run_once(engine: Engine, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    assert engine.submit(fans(3, ledger=str(ledger))) is RunState.SUCCEEDED
    assert sorted(executions(ledger)) == ["middle", "result-0", "result-1", "result-2", "root"]
    assert engine.workspace.runs.get(engine.run_id).state is RunState.SUCCEEDED
    states = engine.workspace.runs.cell_states(engine.run_id)
    assert set(states.values()) == {StepState.SUCCEEDED}


def test_an_unchanged_grid_runs_nothing(engine: Engine, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    cells = fans(2, ledger=str(ledger))
    engine.submit(cells)
    first = executions(ledger)
    assert engine.submit(cells) is RunState.SUCCEEDED
    assert executions(ledger) == first and engine.told.steps == []
    assert event_types(engine)[-3:] == ["cell.succeeded", "cell.succeeded", "run.finished"]


def test_scratch_is_gone_and_logs_stay(engine: Engine) -> None:
    engine.submit(chains(1, 2))
    assert not list((engine.workspace.root / "scratch").iterdir())
    assert len(list((engine.workspace.root / "logs").glob("*/*.1.log"))) == 2


def test_a_workspace_may_have_braces_in_its_name(tmp_path: Path) -> None:
    with find_workspace(str(tmp_path / "{attempt} of {0}"), environment={}) as workspace:
        engine = Engine(workspace)
        assert engine.submit(chains(1, 1)) is RunState.SUCCEEDED
        [attempt] = engine.attempts()
        assert Path(attempt.log_file).is_file()
        engine.compute.close()


def test_metrics_scores_and_curves_are_kept(engine: Engine) -> None:
    engine.submit([fake_cell("cell", {"score": fake_step("measure", {"value": 7})})])
    with engine.workspace.database.read() as connection:
        values = connection.scalars(select(schema.metrics.c.value)).all()
        counts = [
            connection.scalar(select(func.count()).select_from(table))
            for table in (schema.sample_scores, schema.curves)
        ]
    assert list(values) == [7.0] and counts == [2, 3]


def test_a_bug_fails_at_once_and_blocks_only_its_users(engine: Engine) -> None:
    bad = fake_step("fail")
    cells = [
        fake_cell("bad", {"fail": bad, "after": fake_step("noop", before=bad)}),
        fake_cell("good", {"measure": fake_step("measure")}),
    ]
    assert engine.submit(cells) is RunState.PARTIAL
    assert engine.row("fail").failure == "bug" and engine.row("noop").state is StepState.BLOCKED
    assert engine.row("measure").state is StepState.SUCCEEDED
    states = engine.workspace.runs.cell_states(engine.run_id)
    assert states[CellKey("bad", 0)] is StepState.FAILED
    assert engine.told.what("fail") == ["started", "failed", "blocked"]


def test_a_run_without_a_good_cell_has_failed(engine: Engine) -> None:
    assert engine.submit([fake_cell("bad", {"fail": fake_step("fail")})]) is RunState.FAILED


@pytest.mark.parametrize(("error", "attempts"), [("bug", 1), ("data", 1), ("oom", 3), ("infra", 4)])
def test_failures_are_retried_by_their_class(engine: Engine, error: str, attempts: int) -> None:
    engine.submit([fake_cell("bad", {"fail": fake_step("fail", {"error": error})})])
    assert [attempt.failure for attempt in engine.attempts()] == [error] * attempts


def test_a_retry_may_succeed_and_goes_on_where_it_stopped(engine: Engine) -> None:
    state = engine.submit([fake_cell("cell", {"train": fake_step("resumable")})])
    assert state is RunState.SUCCEEDED
    assert engine.told.what("resumable") == ["started", "retry", "started", "done"]
    with engine.workspace.database.read() as connection:
        points = connection.execute(select(schema.curves).order_by(schema.curves.c.step)).all()
    assert [(point.step, point.value) for point in points] == [(i, 10.0 - i) for i in range(10)]


def test_out_of_memory_runs_the_same_batch_in_smaller_pieces(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, submit = [], engine.compute.submit

    def noting(request: AttemptRequest) -> Handle:
        fresh.append(request.fresh_process)
        return submit(request)

    monkeypatch.setattr(engine.compute, "submit", noting)
    step = fake_step(
        "hungry",
        {"training": {"scenes_per_step": 8}},
        settings={"training": {"gradient_accumulation": 1}},
    )
    assert engine.submit([fake_cell("cell", {"train": step})]) is RunState.SUCCEEDED
    assert (engine.artifact("hungry") / "out.txt").read_text() == "8 scenes, 2 at a time"
    assert fresh == [False, True, True]
    assert [attempt.note for attempt in engine.attempts()][1:] == [
        "micro-batch halved at the same effective batch"
    ] * 2
    assert not engine.look([fake_cell("cell", {"train": step})]).misses


def test_fail_fast_stops_what_does_not_even_depend(engine: Engine) -> None:
    engine.compute = InProcessCompute(1)
    cells = [
        fake_cell("bad", {"fail": fake_step("fail"), "x": fake_step("noop", {"id": 1})}),
        fake_cell("good", {"late": fake_step("measure"), "y": fake_step("noop", {"id": 1})}),
    ]
    assert engine.submit(cells, fail_fast=True) is RunState.FAILED
    assert engine.row("measure").state is StepState.CANCELLED
    assert engine.submit(cells) is RunState.PARTIAL


def test_a_step_that_takes_too_long_is_stopped(engine: Engine) -> None:
    slow = fake_step("crawl", {"seconds": 60}, Resources(timeout_s=0.2))
    assert engine.submit([fake_cell("slow", {"crawl": slow})]) is RunState.FAILED
    assert "took longer than its limit of 0.2 s" in str(engine.row("crawl").message)
    assert len(engine.attempts()) == 4


def test_what_the_compute_cannot_offer_fails_with_the_reason(engine: Engine) -> None:
    class Small(InProcessCompute):
        def refusal(self, resources: Resources) -> str | None:
            return "it needs 8 GPU, this place has 0" if resources.gpus else None

    engine.compute = Small(1)
    wide = fake_step("noop", resources=Resources(gpus=8))
    assert engine.submit([fake_cell("wide", {"noop": wide})]) is RunState.FAILED
    assert engine.row("noop").message == "it needs 8 GPU, this place has 0"


def test_fail_fast_begins_nothing_that_was_claimed_beside_a_refused_step(engine: Engine) -> None:
    class Small(InProcessCompute):
        def refusal(self, resources: Resources) -> str | None:
            return "no GPU here" if resources.gpus else None

    engine.compute = Small(4)
    cells = [
        fake_cell("good", {"measure": fake_step("measure")}),
        fake_cell("wide", {"noop": fake_step("noop", resources=Resources(gpus=8))}),
    ]
    assert engine.submit(cells, fail_fast=True) is RunState.FAILED
    assert [attempt.state for attempt in engine.attempts()] == [AttemptState.FAILED]
    assert engine.row("measure").state is StepState.CANCELLED


def test_progress_of_a_running_step_is_seen(engine: Engine) -> None:
    engine.submit([fake_cell("cell", {"crawl": fake_step("crawl", {"seconds": 0.4})})])
    assert [report.note for report in engine.told.reports][:1] == ["crawling"]
    assert {report.total for report in engine.told.reports} == {40}


def test_warnings_are_shown_and_told(engine: Engine) -> None:
    engine.submit([fake_cell("cell", {"measure": fake_step("measure")})])
    assert ("measure", "warning", "this is a fake") in engine.told.steps
    assert "step.warning" in event_types(engine)


def test_no_more_than_the_wanted_number_run_at_a_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.compute = compute = InProcessCompute(8)
    seen: list[int] = []
    submit = compute.submit

    def counting(request: AttemptRequest) -> Handle:
        seen.append(len(compute._running) + 1)
        return submit(request)

    monkeypatch.setattr(compute, "submit", counting)
    engine.submit(chains(6, 2), jobs=2)
    assert max(seen) == 2


# --- a cluster that goes down --------------------------------------------------------------------


class Fragile(InProcessCompute):
    """Is lost once something has run, as often as it is told, and comes back when asked twice."""

    def __init__(self, losses: int, comes_back: bool = True) -> None:
        super().__init__(2)
        self.losses, self.comes_back, self.asked, self.is_down = losses, comes_back, 0, False

    def has_room(
        self, resources: Resources, before: Sequence[Resources] = (), kind: str = ""
    ) -> bool:
        return not self.is_down and super().has_room(resources, before, kind)

    def wait(self, timeout_s: float) -> list[tuple[Handle, AttemptReport]]:
        if self._running and self.losses:
            self.losses -= 1
            for thread in list(self._threads):
                thread.join()
            self._running.clear()
            self._ended = queue.SimpleQueue()
            self.is_down = True
            raise ClusterLost("local Ray is lost: its raylet has ended")
        return super().wait(timeout_s)

    def restore(self) -> bool:
        self.asked += 1
        if not self.comes_back:
            raise ClusterLost("it has not come back")
        self.is_down = self.asked % 2 == 1
        return not self.is_down


def test_a_lost_cluster_costs_no_step_a_try(engine: Engine) -> None:
    engine.compute = Fragile(losses=6)
    assert engine.submit(chains(2, 2)) is RunState.SUCCEEDED
    assert {attempt.failure for attempt in engine.attempts()} == {None}
    assert engine.told.what("link").count("retry") == 0
    lost = event_types(engine).count("cluster.lost")
    assert lost == 6 and engine.compute.asked == 12
    assert "local Ray is lost: its raylet has ended; 2 attempts are given back" in str(
        engine.told.warnings
    )


def test_a_cluster_that_stays_away_leaves_a_run_that_can_be_resumed(engine: Engine) -> None:
    engine.compute = Fragile(losses=1, comes_back=False)
    with pytest.raises(StorageError, match="has not come back"):
        engine.submit(chains(2, 2))
    assert engine.workspace.runs.get(engine.run_id).state is RunState.INTERRUPTED
    assert {attempt.state for attempt in engine.attempts()} == {"lost"}
    engine.compute = InProcessCompute(2)
    assert engine.resume() is RunState.SUCCEEDED


def test_a_step_that_takes_its_machine_along_each_time_is_given_up(engine: Engine) -> None:
    engine.compute = Fragile(losses=100)
    assert engine.submit(chains(1, 1)) is RunState.FAILED
    assert "times under this step" in str(engine.row("link").message)
    assert len(engine.attempts()) == MAX_GIVEN_BACK + 1


# --- early cutoff, damage, refresh ---------------------------------------------------------------


def cutoff(version: int) -> list[Cell]:
    """A first step whose artifact does not depend on its version, and one that reads it."""
    first = fake_step("constant", version=version)
    return [fake_cell("cell", {"constant": first, "measure": fake_step("measure", first=first)})]


def test_an_unchanged_artifact_ends_the_recomputation(engine: Engine) -> None:
    engine.submit(cutoff(1))
    assert engine.submit(cutoff(2)) is RunState.SUCCEEDED
    assert engine.told.what("constant") == ["started", "done"]
    assert engine.told.what("measure") == ["reused"]
    with engine.workspace.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.metrics)) == 2
    assert not engine.look(cutoff(2)).misses


def test_a_refreshed_step_with_the_same_result_changes_nothing_below(engine: Engine) -> None:
    engine.submit(cutoff(1))
    assert engine.submit(cutoff(1), refresh=["constant"]) is RunState.SUCCEEDED
    assert engine.told.what("constant") == ["started", "done"]
    assert engine.told.what("measure") == ["reused"]
    assert "step.invalidated" in event_types(engine)


def test_a_damaged_artifact_is_made_again(engine: Engine) -> None:
    engine.submit(cutoff(1))
    corrupt_file(engine.artifact("constant") / "out.txt")
    assert engine.submit(cutoff(1)) is RunState.SUCCEEDED
    assert engine.told.what("constant") == ["started", "done"]
    assert (engine.artifact("constant") / "out.txt").read_text() == "constant"


def test_a_twin_is_looked_at_before_it_is_taken_over_and_never_within_a_turn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may be silent for minutes, in which nobody could write to the database."""
    engine.submit(cutoff(1))
    asked: list[Health] = []

    def look(digest: str) -> Health:
        with contextlib.closing(
            sqlite3.connect(engine.workspace.root / "results.db", timeout=0)
        ) as other:
            other.execute("BEGIN IMMEDIATE")  # fails while a turn has the lock
        asked.append(Health.MISSING)
        return asked[-1]

    engine.plan = engine.look(cutoff(2))
    monkeypatch.setattr(engine.workspace.store, "stat_check", look)
    assert engine.submit_plan(engine.plan) is RunState.SUCCEEDED
    assert asked and engine.told.what("measure") == ["started", "warning", "done"]


def test_damage_between_plan_and_use_is_repaired(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan saw a sound input; by the time the step runs it is damaged."""
    engine.submit(cutoff(1))
    first = cutoff(1)[0].steps["constant"]
    cells = [fake_cell("new", {"constant": first, "noop": fake_step("noop", first=first)})]
    file = engine.artifact("constant") / "out.txt"
    engine.plan = engine.look(cells)
    assert reasons(engine.plan) == {"constant": "done", "noop": "new"}
    corrupt_file(file)
    assert engine.submit_plan(engine.plan) is RunState.SUCCEEDED
    assert engine.told.what("constant") == ["started", "done"]
    assert engine.told.what("noop") == ["started", "started", "done"]
    assert "does not match its digest" in engine.told.warnings[0]


def test_a_step_whose_code_was_edited_since_the_plan_does_not_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CodeIndex, "digest", lambda *_: CodeDigest("as planned", {}))
    plan = engine.look([fake_cell("cell", {"noop": fake_step("noop")})])
    monkeypatch.undo()
    assert engine.submit_plan(plan) is RunState.FAILED
    assert "was edited since this run was planned" in engine.told.steps[1][2]


# --- interruption, cancellation, other supervisors -----------------------------------------------


def in_background(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def wait_until(condition: object, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_an_interrupted_run_releases_its_steps_and_can_be_resumed(engine: Engine) -> None:
    stop = threading.Event()
    cells = [
        fake_cell("slow", {"crawl": fake_step("crawl", {"seconds": 60})}),
        fake_cell("fast", {"measure": fake_step("measure")}),
    ]

    def interrupt() -> None:
        wait_until(lambda: "done" in engine.told.what("measure"))
        wait_until(lambda: engine.told.what("crawl"))
        stop.set()

    thread = in_background(interrupt)
    assert engine.submit(cells, stop=stop) is RunState.INTERRUPTED
    thread.join()
    row = engine.row("crawl")
    assert (row.state, row.reason) == (StepState.PENDING, "interrupted")
    assert engine.workspace.runs.get(engine.run_id).state is RunState.INTERRUPTED
    assert reasons(engine.look(cells)) == {"crawl": "interrupted", "measure": "done"}
    engine.compute = InProcessCompute(2)
    resume_with(engine, seconds=0.05)


def resume_with(engine: Engine, seconds: float) -> None:
    """Resume, but make the crawling step short; its recipe stays what it was."""
    from threedrs_platform.testing import fake_steps

    real = fake_steps.crawl
    fake_steps.crawl = fake_steps.noop
    try:
        assert engine.resume() is RunState.SUCCEEDED
    finally:
        fake_steps.crawl = real


def test_a_cancelled_cell_spares_steps_of_other_cells(engine: Engine) -> None:
    shared = fake_step("crawl", {"seconds": 0.6})
    cells = [
        fake_cell("a", {"crawl": shared, "noop": fake_step("noop", shared=shared)}),
        fake_cell("b", {"crawl": shared, "measure": fake_step("measure", shared=shared)}),
    ]

    def cancel() -> None:
        wait_until(lambda: engine.told.what("crawl"))
        engine.workspace.runs.request_cancel(engine.run_id, [CellKey("a", 0)])

    thread = in_background(cancel)
    assert engine.submit(cells) is RunState.SUCCEEDED
    thread.join()
    assert engine.row("noop").state is StepState.CANCELLED
    assert engine.row("measure").state is StepState.SUCCEEDED
    states = engine.workspace.runs.cell_states(engine.run_id)
    assert states[CellKey("a", 0)] is StepState.CANCELLED


def test_a_cancelled_run_stops_running_steps(engine: Engine) -> None:
    cells = [fake_cell("slow", {"crawl": fake_step("crawl", {"seconds": 60})})]

    def cancel() -> None:
        wait_until(lambda: engine.told.what("crawl"))
        engine.workspace.runs.request_cancel(engine.run_id)

    thread = in_background(cancel)
    began = time.monotonic()
    assert engine.submit(cells) is RunState.CANCELLED
    thread.join()
    assert time.monotonic() - began < 30
    assert engine.workspace.runs.get(engine.run_id).state is RunState.CANCELLED


def test_a_cancelled_run_can_be_submitted_again(engine: Engine) -> None:
    cells = chains(1, 2)
    engine.plan = engine.look(cells)
    engine.submit(cells)
    key = engine.plan.steps[1].key
    engine.workspace.journal.move(
        engine.run_id, [key], StepState.CANCELLED, "cancelled", [StepState.SUCCEEDED]
    )
    assert engine.submit(cells) is RunState.SUCCEEDED


def test_a_step_that_another_supervisor_holds_is_waited_for(engine: Engine) -> None:
    cells = chains(1, 1)
    plan = engine.look(cells)
    journal, key = engine.workspace.journal, plan.steps[0].key
    engine.submit(cells)
    journal.invalidate(engine.run_id, key, "")
    other = type(journal)(engine.workspace.database, str(this_owner()))
    claim = other.claim(engine.run_id, key, lease_s=60)
    assert claim is not None

    def finish_elsewhere() -> None:
        wait_until(lambda: "waiting" in engine.told.what("link"))
        other.release(engine.run_id, [claim], "given up")

    thread = in_background(finish_elsewhere)
    assert engine.submit(cells) is RunState.SUCCEEDED
    thread.join()
    assert engine.told.what("link") == ["waiting", "started", "done"]


def test_one_run_has_one_supervisor(engine: Engine) -> None:
    engine.submit(chains(1, 1))
    engine.workspace.runs.start(engine.run_id, str(this_owner()), lease_s=60)
    with pytest.raises(ConflictError, match="is being worked on by"):
        engine.resume()


# --- storage --------------------------------------------------------------------------------------


def test_a_full_disk_ends_the_run_and_leaves_it_resumable(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28))

    plan = engine.look(chains(1, 3))
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(StorageError, match=r"link: cannot publish.*the disk is full"):
        engine.submit_plan(plan)
    monkeypatch.undo()
    run = engine.workspace.runs.get(engine.run_id)
    assert run.state is RunState.INTERRUPTED and not run.has_live_owner
    assert [attempt.failure for attempt in engine.attempts()] == ["storage"]
    engine.compute = InProcessCompute(2)
    assert engine.resume() is RunState.SUCCEEDED


def test_reports_of_a_step_that_timed_out_are_ignored(engine: Engine) -> None:
    class Late(InProcessCompute):
        """Never cancels, so the report of a stopped attempt arrives after all."""

        def cancel(self, handle: Handle) -> None:
            return

    engine.compute = Late(8)
    slow = fake_step("crawl", {"seconds": 0.5}, Resources(timeout_s=0.1))
    assert engine.submit([fake_cell("slow", {"crawl": slow})]) is RunState.FAILED
    assert engine.row("crawl").failure == FailureClass.INFRA
