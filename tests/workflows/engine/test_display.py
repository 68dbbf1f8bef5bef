"""Displays never stand in the way of the run that they show."""

from __future__ import annotations

import io

from threedrs_platform.states import RunState
from threedrs_platform.testing.fake_cells import fans
from threedrs_workflows.engine.display import PlainDisplay, RunOverview
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.testing.engine_bench import Engine


class Deaf(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    display = PlainDisplay(Deaf())
    display.warning("nobody hears this")
    display.finished(RunState.SUCCEEDED)


def test_warnings_and_the_end_are_lines() -> None:
    stream = io.StringIO()
    PlainDisplay(stream).warning("low disk")
    PlainDisplay(stream).finished(RunState.FAILED)
    assert stream.getvalue().splitlines() == ["warning  low disk", "run  failed: "]


def test_a_step_is_called_by_its_cell_and_seed_unless_cells_share_it(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    overview = RunOverview("run", Schedule(plan))
    names = {step.spec.params["id"]: overview.name(step) for step in plan.steps}
    assert names["result-0"].endswith(" of cell-0, seed 0")
    assert " of " not in names["root"]


def test_cells_that_failed_are_counted_beside_those_that_are_over(engine: Engine) -> None:
    plan = engine.look(fans(2, ledger=""))
    schedule = Schedule(plan)
    overview = RunOverview("run", schedule)
    assert overview.head().startswith("cells 0/2, ")
    schedule.failed(next(s.key for s in plan.steps if s.spec.params["id"] == "result-0"))
    assert overview.head().startswith("cells 1/2 (1 failed), ")
