"""Cells that come while a run goes on share its steps, and may be given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from threedrs_platform.database.claims import CellKey
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import fake_cell, fake_step, fans
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.testing.engine_bench import Engine


@dataclass
class OneByOne(CellFeed):
    """Hands out cells one after another, each when the one before has ended."""

    engine: Engine
    waiting: list[Cell]
    doomed: set[str] = field(default_factory=set)
    """Cells to give up as soon as they draw a curve or have come."""
    seen: list[dict[CellKey, StepState]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return not self.waiting

    def more(self, schedule: Schedule) -> Plan | None:
        if not self.waiting or StepState.PENDING in schedule.cells.values():
            return None
        self.seen.append(dict(schedule.cells))
        plan = self.engine.look([self.waiting.pop(0)])
        runs = self.engine.workspace.runs
        runs.extend(self.engine.run_id, plan.cells, plan.links, plan.entries())
        return plan

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        self.curves = (step_key, at, dict(values))

    def given_up(self) -> Mapping[CellKey, str]:
        named = self.doomed if self.curves else set()
        self.doomed = self.doomed - named
        return {CellKey(name, 0): "no promise" for name in named}

    def close(self) -> None:
        self.waiting.clear()

    curves: tuple[str, int, dict[str, float]] | None = None


def fed(engine: Engine, cells: Sequence[Cell]) -> RunState:
    engine.submit([])
    supervisor = engine.supervisor()
    supervisor.feed = OneByOne(engine, list(cells))
    return supervisor.run(engine.run_id, engine.look([]))


def test_cells_that_come_later_share_steps(engine: Engine, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    assert fed(engine, fans(3, ledger=str(ledger))) is RunState.SUCCEEDED
    ran = [line.split()[1] for line in ledger.read_text().splitlines()]
    assert ran == ["root", "middle", "result-0", "result-1", "result-2"]
    states = engine.workspace.runs.cell_states(engine.run_id)
    assert list(states) == [CellKey(f"cell-{index}", 0) for index in range(3)]
    assert set(states.values()) == {StepState.SUCCEEDED}


def test_a_cell_that_comes_done_is_done(engine: Engine, tmp_path: Path) -> None:
    cells = fans(2, ledger=str(tmp_path / "ledger"))
    engine.submit(cells)
    assert fed(engine, cells) is RunState.SUCCEEDED
    assert len((tmp_path / "ledger").read_text().splitlines()) == 4
    assert set(engine.workspace.runs.cell_states(engine.run_id).values()) == {StepState.SUCCEEDED}


def test_a_failed_shared_step_is_tried_again_for_the_next_cell(engine: Engine) -> None:
    broken = fake_step("fail")
    cells = [fake_cell(name, {"x": broken, "y": fake_step(params={"id": name})}) for name in "ab"]
    assert fed(engine, cells) is RunState.FAILED
    failed = [attempt for attempt in engine.attempts() if attempt.state == "failed"]
    assert len(failed) == 2


def test_a_cell_is_given_up_while_it_runs(engine: Engine) -> None:
    slow = fake_step("draw", {"points": 500})
    engine.submit([])
    supervisor = engine.supervisor()
    feed = OneByOne(engine, [fake_cell("slow", {"x": slow}), fake_cell("quick", {})])
    feed.doomed = {"slow"}
    supervisor.feed = feed
    feed.waiting[1] = fake_cell("quick", {"y": fake_step(params={"id": "quick"})})
    assert supervisor.run(engine.run_id, engine.look([])) is RunState.SUCCEEDED
    assert feed.curves is not None and feed.curves[2] == {"loss": 1.0}
    states = engine.workspace.runs.cell_states(engine.run_id)
    assert states[CellKey("slow", 0)] is StepState.CANCELLED
    assert states[CellKey("quick", 0)] is StepState.SUCCEEDED
