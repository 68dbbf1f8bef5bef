"""Workers that share a run: each takes its kinds, the journal tells them of the others."""

import threading
from collections import Counter
from typing import Any

import pytest

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.database.events import read_events
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.runs import Submission
from threedrs_platform.errors import ConflictError
from threedrs_platform.states import FailureClass, RunState, StepState
from threedrs_platform.steps import Cell, Resources
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step, fans
from threedrs_workflows.engine.budget import Budget
from threedrs_workflows.engine.retries import RetryPolicy
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.worker import Share, Worker
from threedrs_workflows.plan.submission import plan_recorded, record
from threedrs_workflows.testing.engine_bench import Engine, RecordingObserver


def recorded(engine: Engine, cells: list[Cell], **options: Any) -> None:
    """A run that nobody works on yet."""
    engine.workspace.root.mkdir(exist_ok=True)
    engine.plan = engine.look(cells)
    submission = Submission("demo", "demo.yaml", "", options)
    engine.run_id = record(engine.workspace, submission, engine.plan)


def worker(engine: Engine, *kinds: str, **options: Any) -> Worker:
    """A worker in a hurry, with a journal of its own as in another process."""
    share = Share(kinds or None, **options)
    chosen = SupervisorOptions(poll_s=0.02, lease_s=5.0)
    made = Worker(engine.workspace, InProcessCompute(1), chosen, RecordingObserver(), share=share)
    made.retries = RetryPolicy(backoff_s=0.01)
    return made


def work(engine: Engine, made: Worker) -> RunState:
    return made.run(engine.run_id, plan_recorded(engine.workspace, engine.run_id))


def told(engine: Engine) -> Counter[str]:
    return Counter(event.type for event in read_events(engine.workspace.database, engine.run_id))


def test_a_worker_takes_its_kinds_and_leaves_the_rest_to_others(engine: Engine) -> None:
    recorded(engine, fans(3, ledger=str(engine.workspace.root / "ledger")))
    assert work(engine, worker(engine, "root", "middle")) is RunState.RUNNING
    assert engine.row("root").state is engine.row("middle").state is StepState.SUCCEEDED
    assert engine.workspace.runs.get(engine.run_id).state is RunState.RUNNING
    assert work(engine, worker(engine, "result")) is RunState.SUCCEEDED
    assert told(engine)["run.finished"] == 1 and told(engine)["cell.succeeded"] == 3


def test_a_step_of_more_gpus_is_for_other_workers(engine: Engine) -> None:
    big = fake_step("noop", kind="big", resources=Resources(gpus=8))
    recorded(engine, [fake_cell("cell", {"big": big, "small": fake_step("noop", kind="small")})])
    assert work(engine, worker(engine, gpus=1)) is RunState.RUNNING
    assert engine.row("big").state is StepState.PENDING
    assert work(engine, worker(engine, gpus=8)) is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("workers", "nodes", "is_taken"),
    [(1, 1, True), (4, 2, True), (4, 1, True), (3, 1, False), (4, 3, False)],
)
def test_a_group_takes_what_it_can_spread(
    engine: Engine, workers: int, nodes: int, is_taken: bool
) -> None:
    resources = Resources(workers=workers, nodes=nodes)
    step = fake_step("noop", kind="train", resources=resources)
    recorded(engine, [fake_cell("cell", {"only": step})])
    assert engine.plan is not None
    (planned,) = engine.plan.steps
    assert Share(nodes=2).takes(planned) is is_taken
    assert Share(nodes=2, least_nodes=2).takes(planned) is (nodes == 2)
    assert Share().takes(planned) is (nodes == 1)


def test_workers_side_by_side_do_each_step_once(engine: Engine) -> None:
    recorded(engine, fans(6, ledger=str(engine.workspace.root / "ledger")))
    workers = [worker(engine, "root", "result"), worker(engine, "middle", "result")]
    states: list[RunState] = []
    for made in workers:  # a journal is one owner's: a second process would have its own
        made.workspace = type(engine.workspace)(engine.workspace.root, "", "")
    threads = [threading.Thread(target=lambda w=w: states.append(work(engine, w))) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert RunState.SUCCEEDED in states
    assert all(attempt.state == "committed" for attempt in engine.attempts())
    assert len(engine.attempts()) == 8
    counts = told(engine)
    assert counts["run.finished"] == 1 and counts["cell.succeeded"] == 6


def test_a_failure_elsewhere_ends_what_waits_for_it_here(engine: Engine) -> None:
    bad = fake_step("fail", kind="early")
    recorded(engine, [fake_cell("cell", {"late": fake_step("measure", kind="late", input=bad)})])
    first, second = worker(engine, "late"), worker(engine, "early")
    thread = threading.Thread(target=lambda: work(engine, first))
    thread.start()
    assert work(engine, second) is RunState.FAILED
    thread.join(60)
    assert not thread.is_alive() and told(engine)["run.finished"] == 1
    assert engine.row("late").state is StepState.BLOCKED


def test_a_worker_that_waits_too_long_leaves(engine: Engine) -> None:
    recorded(engine, fans(1, ledger=str(engine.workspace.root / "ledger")))
    made = worker(engine, "result", max_idle_s=0.1)
    assert work(engine, made) is RunState.RUNNING
    assert made.was_idle


def test_a_supervisor_does_not_take_over_a_run_that_workers_share(engine: Engine) -> None:
    recorded(engine, chains(1, 1))
    engine.workspace.runs.join(engine.run_id, 60.0)
    with pytest.raises(ConflictError, match="is being worked on"):
        engine.workspace.runs.start(engine.run_id, Journal(engine.workspace.database).owner, 1.0)


def test_a_worker_does_not_join_what_a_supervisor_has_for_itself(engine: Engine) -> None:
    recorded(engine, chains(1, 1))
    owner = engine.workspace.journal.owner
    engine.workspace.runs.start(engine.run_id, owner, 60.0)
    with pytest.raises(ConflictError, match="shares it with no workers"):
        work(engine, worker(engine))


def test_retries_count_across_workers(engine: Engine) -> None:
    recorded(
        engine, [fake_cell("cell", {"only": fake_step("fail", {"error": "infra"}, kind="only")})]
    )
    assert engine.plan is not None
    key = engine.plan.steps[0].key
    journal, run = engine.workspace.journal, engine.run_id
    for _ in range(2):
        claim = journal.claim(run, key, 5.0)
        assert claim is not None
        journal.fail(run, claim, FailureClass.INFRA, "the node went away", retry_in_s=0.0)
    assert work(engine, worker(engine)) is RunState.FAILED
    assert len(engine.attempts()) == 4  # one, and three retries: two of them elsewhere


def test_another_workers_delay_before_a_retry_is_kept(engine: Engine) -> None:
    recorded(engine, chains(1, 1))
    assert engine.plan is not None
    key = engine.plan.steps[0].key
    journal, run = engine.workspace.journal, engine.run_id
    claim = journal.claim(run, key, 5.0)
    assert claim is not None
    journal.fail(run, claim, FailureClass.INFRA, "the node went away", retry_in_s=0.4)
    made = worker(engine)
    made.retries = RetryPolicy(backoff_s=0.4)
    assert work(engine, made) is RunState.SUCCEEDED
    first, second = sorted(engine.attempts(), key=lambda attempt: attempt.n)
    assert second.started_at - first.ended_at >= 0.39


def test_memory_that_ran_out_elsewhere_halves_the_batch_here() -> None:
    spec = fake_step(
        params={"training": {"scenes_per_step": 8}},
        settings={"training": {"gradient_accumulation": 1, "workers": 1}},
    )
    retry = RetryPolicy().learn(spec, "key", Counter({FailureClass.OOM: 2}), FailureClass.OOM)
    assert retry.settings["training"]["gradient_accumulation"] == 4


def test_a_stopped_worker_gives_its_step_back(engine: Engine) -> None:
    slow = fake_step("crawl", {"seconds": 30.0}, kind="slow")
    recorded(engine, [fake_cell("cell", {"slow": slow})])
    made = worker(engine)
    threading.Timer(0.5, made.stop.set).start()
    assert work(engine, made) is RunState.INTERRUPTED
    assert engine.row("slow").state is StepState.PENDING
    assert engine.workspace.runs.get(engine.run_id).state is RunState.RUNNING


def test_pause_lets_running_steps_end_and_starts_none(engine: Engine) -> None:
    recorded(engine, chains(2, 2))
    engine.workspace.runs.pause(engine.run_id, True)
    assert work(engine, worker(engine)) is RunState.PAUSED
    assert engine.attempts() == []
    engine.workspace.runs.reopen(engine.run_id)
    engine.workspace.runs.pause(engine.run_id, False)
    assert work(engine, worker(engine)) is RunState.SUCCEEDED


def test_a_supervisor_pauses_and_goes_on(engine: Engine) -> None:
    recorded(engine, chains(2, 2))
    engine.workspace.runs.pause(engine.run_id, True)
    assert engine.plan is not None
    assert engine.work(engine.plan) is RunState.PAUSED
    assert engine.attempts() == []
    assert engine.resume() is RunState.SUCCEEDED


def test_after_too_many_failures_nothing_new_starts(engine: Engine) -> None:
    bad = [fake_cell(f"bad-{n}", {"only": fake_step("fail", {"n": n})}) for n in range(2)]
    good = [fake_cell("good", {"only": fake_step("measure")})]
    engine.compute.close()
    engine.compute = InProcessCompute(1)
    assert engine.submit([*bad, *good], max_failures=1) is RunState.PARTIAL
    assert len(engine.attempts()) == 1
    assert engine.resume() is RunState.PARTIAL
    assert engine.row("measure").state is StepState.SUCCEEDED


def test_a_run_that_is_over_is_told_how_it_ended_and_not_why_it_would_have_rested(
    engine: Engine,
) -> None:
    bad = fake_cell("bad", {"only": fake_step("fail", {"error": "data"})})
    assert engine.submit([bad], max_failures=1) is RunState.FAILED
    last = fake_cell("last", {"only": fake_step("crawl", {"seconds": 0.5})})
    pause = threading.Timer(0.2, lambda: engine.workspace.runs.pause(engine.run_id, True))
    engine.plan = engine.look([last])
    engine.run_id = record(engine.workspace, Submission("demo", "demo.yaml", "", {}), engine.plan)
    pause.start()
    assert engine.work(engine.plan) is RunState.SUCCEEDED


def test_a_worker_without_budget_leaves_the_others_their_work(engine: Engine) -> None:
    big = fake_step("crawl", {"seconds": 9}, Resources(gpus=1), kind="big")
    recorded(engine, [fake_cell("cell", {"big": big, "small": fake_step("noop", kind="small")})])
    made = worker(engine, "big")
    made.budget = Budget(0.001, {"big": 9.0})
    assert work(engine, made) is RunState.RUNNING
    assert engine.workspace.runs.get(engine.run_id).state is RunState.RUNNING
    assert work(engine, worker(engine, "small")) is RunState.RUNNING
    again = worker(engine, "big")
    again.budget = Budget(0.001, {"big": 9.0})
    assert work(engine, again) is RunState.PAUSED
