"""Cells that come to a run while it goes on, and go when they show no promise: tuning."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from threedrs_platform.database.claims import CellKey
from threedrs_platform.states import RunState
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.plan.plan import Plan


class CellFeed:
    """Feeds cells to a supervisor: this one feeds none beside those that the run began with.

    Called from the supervisor's thread, a few times a second.
    """

    @property
    def is_over(self) -> bool:
        """Whether no cell will come any more."""
        return True

    def more(self, schedule: Schedule) -> Plan | None:
        """Cells to work on from now on, already recorded with the run; None for none now."""
        return None

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        """A running step has reported a point of its training curves."""

    def given_up(self) -> Mapping[CellKey, str]:
        """Cells to give up, each with the reason; every cell is named once."""
        return {}

    @property
    def partners(self) -> Collection[str]:
        """Other runs that spend from the same budget."""
        return ()

    def outcome(self, state: RunState) -> RunState:
        """How the run has ended, given what the states of its cells say."""
        return state

    def close(self) -> None:
        """Feed no more cells: the run was cancelled, or stops at a failure."""
