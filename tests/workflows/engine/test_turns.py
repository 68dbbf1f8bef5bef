"""How much is asked of the database: by the turn and the level, not by the step."""

from __future__ import annotations

from pathlib import Path

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.database import schema
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step, fans
from threedrs_platform.testing.statements import sent_statements
from threedrs_workflows.testing.engine_bench import Engine

BEGIN = "BEGIN IMMEDIATE"


def wide(steps: int) -> list[Cell]:
    """One cell of steps that are all ready at once."""
    return [fake_cell("wide", {f"s{n}": fake_step("noop", {"id": n}) for n in range(steps)})]


def statements_of(engine: Engine, cells: list[Cell], jobs: int) -> list[str]:
    """What a run of some cells sends."""
    engine.compute = InProcessCompute(jobs)
    plan = engine.look(cells)
    with sent_statements(engine.workspace.database) as sent:
        assert engine.submit_plan(plan) is RunState.SUCCEEDED
    return sent


def test_steps_that_start_together_are_claimed_in_one_transaction(engine: Engine) -> None:
    sent = statements_of(engine, wide(30), 30)
    takes = [each for each in sent if each.startswith("UPDATE steps SET state") and "epoch" in each]
    begun = [each for each in sent if each.startswith("INSERT INTO attempts")]
    claims = [each for each in takes if "RETURNING" in each]
    assert len(claims) == len(begun) == 1


def test_a_turn_of_many_steps_sends_hardly_more_than_one_of_few(engine: Engine) -> None:
    few = len(statements_of(engine, wide(2), 1))
    many = len(statements_of(engine, chains(1, 2) + wide(60), 60))
    # Those 60 may end one by one; starting them took one turn.
    assert many < few + 60 * 7


def test_a_run_has_no_more_write_transactions_than_turns(engine: Engine) -> None:
    steps = 20
    sent = statements_of(engine, chains(1, steps), 1)
    # Submission, start, taking over, the end, and for each link at most two turns: one that starts
    # it, with what came before it, and one for a report that came alone.
    assert sum(each == BEGIN for each in sent) <= 2 * steps + 8


def test_a_plan_asks_once_a_level(engine: Engine) -> None:
    asked: list[int] = []
    engine.look([])  # opens the database
    for cells in (2, 60):
        with sent_statements(engine.workspace.database) as sent:
            engine.look(fans(cells, ledger=str(Path("ledger"))))
        asked.append(len(sent))
    levels = 3
    assert asked[0] == asked[1] <= 4 * levels + 8


def test_a_stale_claim_among_others_is_lost_alone(engine: Engine) -> None:
    engine.compute = InProcessCompute(8)
    submit_all = engine.compute.submit_all

    def robbed(requests: list) -> list:  # type: ignore[type-arg]
        if requests and not stolen:
            stolen.append(requests[0].step_key)
            with engine.workspace.database.write() as connection:
                mine = schema.steps.c.key == stolen[0]
                change = schema.steps.update().where(mine)
                connection.execute(change.values(epoch=9, owner="heir|1|1|x", lease_until=1.0))
        return submit_all(requests)

    stolen: list[str] = []
    engine.compute.submit_all = robbed  # type: ignore[method-assign,assignment]
    assert engine.submit(wide(6)) is RunState.SUCCEEDED
    assert engine.told.what("noop").count("lost") == 1
    attempts = [(each.n, each.state) for each in engine.attempts() if each.step_key == stolen[0]]
    assert attempts == [(1, "lost"), (10, "committed")]
    assert sum(each.state == "committed" for each in engine.attempts()) == 6
