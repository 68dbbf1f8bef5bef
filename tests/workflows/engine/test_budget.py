"""A run that may spend only so much GPU time pauses, and goes on where it stopped."""

from pathlib import Path

import pytest
from sqlalchemy import update

from threedrs_platform.database import schema
from threedrs_platform.database.spending import gpu_seconds
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell, Resources
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_workflows.engine.budget import HOUR, Budget
from threedrs_workflows.testing.engine_bench import Engine

GPU = Resources(gpus=2)


def trainings(count: int, seconds: float, function: str = "crawl") -> list[Cell]:
    """Cells of one CPU step, and of one on two GPUs that reads it."""
    cells = []
    for index in range(count):
        first = fake_step("noop", {"id": index}, kind="prepare")
        params = {"id": index, "seconds": seconds}
        train = fake_step(function, params, GPU, kind="train", label=str(index), data=first)
        cells.append(fake_cell(f"cell-{index}", {"prepare": first, "train": train}))
    return cells


def hours(seconds: float, **expected: float) -> Budget:
    return Budget(seconds / HOUR, {f"train {name[1:]}": each for name, each in expected.items()})


def done(engine: Engine) -> int:
    states = engine.workspace.runs.cell_states(engine.run_id).values()
    return sum(state is StepState.SUCCEEDED for state in states)


def test_steps_that_are_known_not_to_fit_do_not_start(engine: Engine) -> None:
    budget = hours(2.1, _0=1.0, _1=1.0, _2=1.0)  # 2 GPU-seconds each
    assert engine.submit(trainings(3, 0.1), budget=budget) is RunState.PAUSED
    assert engine.told.what("train") == ["started", "done"] and done(engine) == 1
    assert engine.told.what("prepare").count("done") == 3, "what needs no GPU is done all the same"
    assert engine.workspace.runs.get(engine.run_id).state is RunState.PAUSED
    assert engine.told.state is RunState.PAUSED


def test_without_any_guess_steps_start_until_the_cap_and_run_to_their_end(engine: Engine) -> None:
    assert engine.submit(trainings(4, 0.3), budget=hours(0.5), jobs=1) is RunState.PAUSED
    assert engine.told.what("train") == ["started", "done"]
    spent = gpu_seconds(engine.workspace.database, engine.run_id)
    assert 0.6 <= spent < 1.2, "0.3 seconds on two GPUs"


def test_a_paused_run_goes_on_under_a_larger_budget(engine: Engine) -> None:
    engine.submit(trainings(3, 0.05), budget=hours(0.01), jobs=1)
    assert done(engine) == 1
    assert engine.resume(budget=hours(0.01)) is RunState.PAUSED and done(engine) == 1
    assert engine.resume(budget=hours(60.0)) is RunState.SUCCEEDED and done(engine) == 3


def test_what_failed_attempts_took_is_spent(engine: Engine) -> None:
    cells = trainings(2, 0.1, "doomed")
    assert engine.submit(cells, budget=hours(0.1), jobs=1) is RunState.PAUSED
    assert engine.told.what("train")[:2] == ["started", "failed"]
    assert gpu_seconds(engine.workspace.database, engine.run_id) >= 0.2


def test_a_dead_supervisor_has_spent_no_more_than_its_lease(engine: Engine) -> None:
    engine.submit(trainings(1, 0.1), budget=hours(60.0))
    attempts, steps = schema.attempts, schema.steps
    with engine.workspace.database.write() as connection:
        begun = {"started_at": 1000.0, "ended_at": None, "gpu_s": None, "state": "running"}
        connection.execute(update(attempts).where(attempts.c.gpu_s > 0).values(**begun))
        connection.execute(update(steps).values(lease_until=1060.0))
    assert gpu_seconds(engine.workspace.database, engine.run_id) == pytest.approx(120, abs=1)


def test_an_abandoned_attempt_that_is_taken_over_ends_with_its_lease(engine: Engine) -> None:
    engine.submit(trainings(1, 0.01), budget=hours(60.0))
    (key,) = [a.step_key for a in engine.attempts() if a.gpu_s]
    attempts, steps = schema.attempts, schema.steps
    mine = {"state": "running", "lease_until": 1060.0, "owner": "elsewhere|1|1.0|x"}
    with engine.workspace.database.write() as connection:
        connection.execute(update(steps).where(steps.c.key == key).values(**mine))
        begun = {"started_at": 1000.0, "ended_at": None, "gpu_s": None, "state": "running"}
        connection.execute(update(attempts).where(attempts.c.step_key == key).values(**begun))
    assert engine.workspace.journal.claim(engine.run_id, key, 60.0) is not None
    (lost,) = [a for a in engine.attempts() if a.step_key == key and a.state == "lost"]
    assert lost.ended_at == 1060.0


def test_no_budget_no_pause(engine: Engine, tmp_path: Path) -> None:
    assert engine.submit(trainings(2, 0.01)) is RunState.SUCCEEDED
