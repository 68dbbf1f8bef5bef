"""Runs on one database: the one of the higher priority goes first, kind by kind."""

import threading

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.database.priorities import kinds_ahead
from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.plan.submission import record
from threedrs_workflows.testing.engine_bench import Engine


def test_a_run_gives_way_in_kinds_that_a_more_urgent_run_has_ready(engine: Engine) -> None:
    urgent = engine.look([fake_cell("urgent", {"only": fake_step("noop", {"n": 1}, kind="train")})])
    runs = engine.workspace.runs
    first = record(engine.workspace, Submission("urgent", "", "", {"priority": 5}), urgent)
    runs.start(first, "elsewhere|1|x|y", 60.0)
    steps = {"train": fake_step("noop", {"n": 2}, kind="train"), "other": fake_step("measure")}
    plain = engine.look([fake_cell("plain", steps)])
    second = record(engine.workspace, Submission("plain", "", "", {}), plain)
    database = engine.workspace.database
    assert kinds_ahead(database, second) == {"train"} and kinds_ahead(database, first) == set()
    runs.pause(first, True)
    assert kinds_ahead(database, second) == set(), "it starts none itself"
    runs.pause(first, False)
    supervisor = Supervisor(
        engine.workspace, InProcessCompute(1), SupervisorOptions(poll_s=0.02), engine.told
    )
    states: list[RunState] = []
    thread = threading.Thread(target=lambda: states.append(supervisor.run(second, plain)))
    thread.start()
    thread.join(2.0)
    assert thread.is_alive() and "done" in engine.told.what("measure")
    assert engine.told.what("train") == []
    runs.finish(first, "elsewhere|1|x|y", RunState.INTERRUPTED, {})
    thread.join(30)
    assert states == [RunState.SUCCEEDED]
