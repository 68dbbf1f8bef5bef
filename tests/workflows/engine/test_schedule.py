from threedrs_platform.database.claims import CellKey
from threedrs_platform.states import RunState, StepState
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step, fans
from threedrs_workflows.engine.schedule import Phase, Schedule
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.testing.engine_bench import Engine


def keys(plan: Plan) -> dict[str, str]:
    """Key by the step's `id`."""
    return {step.spec.params["id"]: step.key for step in plan.steps}


def cell(index: int) -> CellKey:
    return CellKey(f"cell-{index}", 0)


def test_steps_become_ready_as_their_inputs_are_done(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    key, schedule = keys(plan), Schedule(plan)
    assert list(schedule.ready()) == [key["root"]]
    schedule.done(key["root"], "d0")
    assert list(schedule.ready()) == [key["middle"]]
    schedule.done(key["middle"], "d1")
    assert set(schedule.ready()) == {key["result-0"], key["result-1"]}
    assert schedule.inputs(key["result-0"]) == {"middle": "d1", "root": "d0"}


def test_the_most_shared_goes_first_then_the_longest_path(engine: Engine) -> None:
    shared = fake_step(params={"id": "shared"})
    lonely = fake_step(params={"id": "lonely"})
    start = fake_step(params={"id": "start"})
    long = fake_step("noop", {"id": "long"}, start=start)
    cells = [
        fake_cell("a", {"x": lonely, "y": shared, "z": long}),
        fake_cell("b", {"y": shared}),
    ]
    plan = engine.look(cells)
    names = {step.key: step.spec.params["id"] for step in plan.steps}
    assert [names[key] for key in Schedule(plan).ready()] == ["shared", "start", "lonely"]


def test_a_cell_is_done_with_its_last_step(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    key, schedule = keys(plan), Schedule(plan)
    for name in ("root", "middle"):
        schedule.done(key[name], name)
    assert schedule.finishing(key["result-1"]) == [cell(1)]
    schedule.done(key["result-1"], "d")
    assert schedule.cells[cell(1)] is StepState.SUCCEEDED
    assert schedule.cells[cell(0)] is StepState.PENDING and not schedule.is_finished


def test_a_failure_blocks_what_depends_on_it_and_nothing_else(engine: Engine) -> None:
    plan = engine.look(chains(2, 3))
    key, schedule = keys(plan), Schedule(plan)
    blocked, ended = schedule.failed(key["0.0"])
    assert set(blocked) == {key["0.1"], key["0.2"]} and ended == [CellKey("chain-0", 0)]
    for name in ("1.0", "1.1", "1.2"):
        schedule.done(key[name], name)
    assert schedule.is_finished and schedule.outcome() is RunState.PARTIAL


def test_cancelling_a_cell_spares_what_other_cells_need(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    key, schedule = keys(plan), Schedule(plan)
    dropped, ended = schedule.cancel([cell(0)])
    assert dropped == [key["result-0"]] and ended == [cell(0)]
    dropped, _ = schedule.cancel([cell(1)])
    assert set(dropped) == {key["root"], key["middle"], key["result-0"], key["result-1"]}
    assert schedule.outcome() is RunState.CANCELLED


def test_an_undone_step_runs_again_and_its_users_wait(engine: Engine) -> None:
    plan = engine.look(fans(1, ledger=""))
    key, schedule = keys(plan), Schedule(plan)
    schedule.done(key["root"], "d0")
    schedule.undo(key["root"])
    assert list(schedule.ready()) == [key["root"]]
    assert schedule.phase(key["middle"]) is Phase.WAITING
    for name in ("root", "middle", "result-0"):
        schedule.done(key[name], name)
    assert schedule.is_finished and schedule.outcome() is RunState.SUCCEEDED


def test_a_plan_without_misses_is_finished_at_once(engine: Engine) -> None:
    cells = chains(2, 2)
    engine.submit(cells)
    schedule = Schedule(engine.look(cells))
    assert schedule.is_finished and schedule.hits == 4
    assert schedule.outcome() is RunState.SUCCEEDED


def test_cells_are_driven_to_their_end_one_after_the_other(engine: Engine) -> None:
    plan = engine.look(chains(3, 3))
    schedule, order = Schedule(plan), []
    names = {step.key: step.spec.params["id"] for step in plan.steps}
    while not schedule.is_finished:
        key = next(schedule.ready())
        order.append(names[key])
        schedule.done(key, "digest")
    assert order == [f"{chain}.{depth}" for chain in range(3) for depth in range(3)]


def test_a_step_that_cannot_go_on_waits_for_an_input_that_is_made_again(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    key, schedule = keys(plan), Schedule(plan)
    for name in ("root", "middle"):
        schedule.done(key[name], name)
    schedule.set(key["result-0"], Phase.RUNNING)
    schedule.undo(key["middle"])
    schedule.set(key["result-0"], Phase.READY)  # it failed, and is to be tried again
    assert list(schedule.ready()) == [key["middle"]]
    schedule.done(key["middle"], "again")
    assert set(schedule.ready()) == {key["result-0"], key["result-1"]}
