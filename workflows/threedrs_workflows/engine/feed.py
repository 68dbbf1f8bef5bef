"""Cells that come to a run while it goes on, and go when they show no promise: tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from threedrs_platform.database.journal import CellKey
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.plan.plan import Plan


class Feed(Protocol):
    """Feeds cells to a supervisor. Called from its thread, a few times a second."""

    @property
    def is_over(self) -> bool:
        """Whether no cell will come any more."""
        ...

    def more(self, schedule: Schedule) -> Plan | None:
        """Cells to work on from now on, already recorded with the run; None for none now."""
        ...

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        """A running step has drawn a point of its training curves."""
        ...

    def given_up(self) -> Mapping[CellKey, str]:
        """Cells to give up, each with the reason; every cell is named once."""
        ...

    def close(self) -> None:
        """The run was cancelled, or stops at a failure: no more cells."""
        ...


class Closed:
    """No cells but those that the run began with."""

    is_over = True

    def more(self, schedule: Schedule) -> Plan | None:
        """None."""
        return None

    def curve(self, step_key: str, at: int, values: Mapping[str, float]) -> None:
        """Of no interest."""

    def given_up(self) -> Mapping[CellKey, str]:
        """None."""
        return {}

    def close(self) -> None:
        """It is."""
