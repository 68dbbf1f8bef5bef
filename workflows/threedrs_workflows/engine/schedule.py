"""Which step is next: the state of a running submission in memory. Pure: no database, no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from threedrs_platform.database.claims import CellKey
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Resources
from threedrs_workflows.engine.covering import covering_order
from threedrs_workflows.engine.undo import Undoable
from threedrs_workflows.plan.plan import Plan, PlannedStep

UNKNOWN_SECONDS = 1.0
Priority = tuple[int, int, float, int]


class Phase(StrEnum):
    """Where a step is in this submission."""

    WAITING = "waiting"
    """Inputs are not there yet."""
    READY = "ready"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"
    """Another supervisor works on it."""
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to the step."""
        return self in (Phase.DONE, Phase.FAILED, Phase.BLOCKED, Phase.CANCELLED)


class Want(NamedTuple):
    """What decides whether there is room for a step."""

    kind: str
    resources: Resources


def wanted_by(step: PlannedStep) -> Want:
    """What a step needs room for."""
    return Want(step.spec.kind, step.spec.resources)


class Schedule:
    """Phases of all steps of a plan, and what follows from each change."""

    def __init__(self, plan: Plan) -> None:
        self.steps: dict[str, PlannedStep] = {}
        self.digests: Undoable[str, str] = Undoable()
        self.cells: Undoable[CellKey, StepState] = Undoable()
        self._users: dict[str, set[str]] = {}
        self._needs: dict[CellKey, set[str]] = {}
        self._cells_of: dict[str, set[CellKey]] = {}
        self._titles: dict[CellKey, str] = {}
        self._missing: Undoable[CellKey, int] = Undoable()
        self._phase: Undoable[str, Phase] = Undoable()
        self._priority: dict[str, Priority] = {}
        self._ready: list[tuple[Priority, str]] = []
        """In order: thousands may be ready, of which a turn takes the first few."""
        self._wants: Counter[Want] = Counter()
        """What the ready ones want."""
        self._open = 0
        self.hits = 0
        self.add(plan)

    def add(self, plan: Plan) -> None:
        """Take in the cells of a plan; steps that are here already are shared with them.

        What failed or was cancelled before is open again: the new cells want it.
        """
        users = {node.key: node.users for node in plan.graph.nodes.values()}
        priorities = _priorities(plan, users, len(self.cells), len(self.steps))
        self._titles |= {
            CellKey(cell.cell_id, cell.seed): f"{cell.label or cell.name}, seed {cell.seed}"
            for cell in plan.cells
        }
        opened = [step for step in plan.steps if not self._keeps(step.key)]
        for node in plan.graph.nodes.values():
            self._users.setdefault(node.key, set()).update(node.users)
            self._cells_of.setdefault(node.key, set()).update(node.cells)
        for step in opened:
            self._priority.setdefault(step.key, priorities[step.key])
            self.steps[step.key] = step
            self._phase.setdefault(step.key, Phase.DONE)
            self.set(step.key, Phase.WAITING)
        for cell, roles in plan.links.items():
            self._needs[cell] = set(roles.values())
            self._missing[cell] = sum(key not in self.digests for key in self._needs[cell])
            self.cells[cell] = StepState.PENDING if self._missing[cell] else StepState.SUCCEEDED
        for step in opened:
            if step.hit and step.output_digest is not None:
                self.hits += 1
                self.done(step.key, step.output_digest)
        for step in opened:
            self._refresh_waiting(step.key)

    def mark(self) -> None:
        """Begin a turn that may have to be taken back."""
        for each in (self.digests, self.cells, self._missing, self._phase):
            each.mark()

    def roll_back(self) -> None:
        """Go back to the last mark."""
        for each in (self.digests, self.cells, self._missing, self._phase):
            each.roll_back()
        ready = [key for key, phase in self._phase.items() if phase is Phase.READY]
        self._ready = sorted((self._priority[key], key) for key in ready)
        self._wants = Counter(wanted_by(self.steps[key]) for key in ready)
        self._open = sum(not phase.is_final for phase in self._phase.values())

    @property
    def is_finished(self) -> bool:
        """Whether every step is in its final phase."""
        return self._open == 0

    def whose(self, key: str) -> str:
        """The one cell and seed that a step is for, for people; empty where several share it."""
        cells = self._cells_of.get(key, set())
        return self._titles.get(next(iter(cells)), "") if len(cells) == 1 else ""

    def phase(self, key: str) -> Phase:
        """Where a step is."""
        return self._phase[key]

    def counts(self) -> Counter[Phase]:
        """How many steps are in each phase."""
        return Counter(self._phase.values())

    def ready(self) -> Iterator[str]:
        """Steps that can start, cell by cell: the first cell has its table before others widen.

        One after the other: of thousands a turn takes few. Nothing may change meanwhile.
        """
        return (key for _, key in self._ready)

    @property
    def num_wants(self) -> int:
        """How many different things the ready steps want room for."""
        return len(self._wants)

    def inputs(self, key: str) -> dict[str, str]:
        """Digests of a ready step's inputs."""
        return {name: self.digests[up] for name, up in self.steps[key].inputs.items()}

    def set(self, key: str, phase: Phase) -> None:
        """Change a step's phase; one whose inputs are not there waits instead of being ready."""
        if phase is Phase.READY and not self._has_inputs(key):
            phase = Phase.WAITING
        before = self._phase[key]
        self._phase[key] = phase
        if before is phase:
            return
        self._open += before.is_final - phase.is_final  # -1, 0 or 1
        if phase is Phase.READY:
            insort(self._ready, (self._priority[key], key))
            self._wants[wanted_by(self.steps[key])] += 1
        elif before is Phase.READY:
            del self._ready[bisect_left(self._ready, (self._priority[key], key))]
            want = wanted_by(self.steps[key])
            self._wants[want] -= 1
            if not self._wants[want]:
                del self._wants[want]

    def finishing(self, key: str) -> list[CellKey]:
        """Cells that will be complete once this step is done."""
        found = [
            cell
            for cell in self._cells_of[key]
            if self._missing[cell] == 1 and self.cells[cell] is StepState.PENDING
        ]
        return sorted(found, key=lambda cell: (cell.cell_id, cell.seed))

    def done(self, key: str, digest: str) -> None:
        """A step succeeded: its users may become ready, cells complete."""
        for cell in self.finishing(key):
            self.cells[cell] = StepState.SUCCEEDED
        for cell in self._cells_of[key]:
            self._missing[cell] -= 1
        self.digests[key] = digest
        self.set(key, Phase.DONE)
        for user in self._users[key]:
            self._refresh_waiting(user)

    def undo(self, key: str) -> None:
        """A done step's artifact turned out bad: it has to run again, and its users wait."""
        for cell in self._cells_of[key]:
            self._missing[cell] += 1
        del self.digests[key]
        self.set(key, Phase.WAITING)
        self._refresh_waiting(key)
        for user in self._users[key]:
            if self._phase[user] in (Phase.READY, Phase.RUNNING):
                self.set(user, Phase.WAITING)

    def failed(self, key: str) -> tuple[list[str], list[CellKey]]:
        """A step failed for good. Returns the steps it blocks and the cells it ends."""
        self.set(key, Phase.FAILED)
        blocked = [user for user in self._downstream(key) if not self._phase[user].is_final]
        for user in blocked:
            self.set(user, Phase.BLOCKED)
        ended = self._end_cells(self._cells_of[key], StepState.FAILED)
        return blocked, ended

    def cancel(
        self, cells: Iterable[CellKey], keep: Iterable[str] = ()
    ) -> tuple[list[str], list[CellKey]]:
        """Cancel cells. Returns the steps nobody needs any more, and the cells that end.

        Args:
            keep: steps that somebody else needs.
        """
        ended = self._end_cells(cells, StepState.CANCELLED)
        needed = set(keep)
        for cell, state in self.cells.items():
            if state is StepState.PENDING:
                needed |= self._needs[cell]
        dropped = [
            key for key, phase in self._phase.items() if not phase.is_final and key not in needed
        ]
        return dropped, ended

    def outcome(self) -> RunState:
        """State of the run, given the states of its cells."""
        states = Counter(self.cells.values())
        wanted = len(self.cells) - states[StepState.CANCELLED]
        if self.cells and not wanted:
            return RunState.CANCELLED
        if states[StepState.SUCCEEDED] == wanted:
            return RunState.SUCCEEDED
        return RunState.PARTIAL if states[StepState.SUCCEEDED] else RunState.FAILED

    def remaining_seconds(self) -> float | None:
        """Predicted work that is left; None while nothing is known."""
        left = [self.steps[key].seconds for key, p in self._phase.items() if not p.is_final]
        known = [seconds for seconds in left if seconds is not None]
        return sum(known) * len(left) / len(known) if known else None

    def _keeps(self, key: str) -> bool:
        """Whether a step is here and done, or on its way."""
        return key in self.steps and (key in self.digests or not self._phase[key].is_final)

    def _end_cells(self, cells: Iterable[CellKey], state: StepState) -> list[CellKey]:
        ended = [cell for cell in cells if self.cells[cell] is StepState.PENDING]
        for cell in ended:
            self.cells[cell] = state
        return sorted(ended, key=lambda cell: (cell.cell_id, cell.seed))

    def _refresh_waiting(self, key: str) -> None:
        if self._phase[key] is Phase.WAITING:
            self.set(key, Phase.READY)

    def _has_inputs(self, key: str) -> bool:
        return all(up in self.digests for up in self.steps[key].inputs.values())

    def _downstream(self, key: str) -> list[str]:
        found: dict[str, None] = {}
        waiting = sorted(self._users[key])
        while waiting:
            user = waiting.pop()
            if user not in found:
                found[user] = None
                waiting += sorted(self._users[user])
        return list(found)


def _priorities(
    plan: Plan, users: dict[str, set[str]], first_cell: int, first: int
) -> dict[str, Priority]:
    """Sort keys: the first cell that needs a step; of one cell what most cells wait for, then the
    longest predicted path, then order.

    Args:
        first_cell: place of the plan's first cell among all.
        first: place of the plan's first step in that order.
    """
    places = {
        CellKey(cell.cell_id, cell.seed): place
        for place, cell in enumerate(covering_order(plan.cells), start=first_cell)
    }
    path: dict[str, float] = {}
    for step in reversed(plan.steps):
        own = UNKNOWN_SECONDS if step.seconds is None else step.seconds
        path[step.key] = own + max((path[user] for user in users[step.key]), default=0.0)
    return {
        step.key: (
            min((places[cell] for cell in plan.graph.nodes[step.key].cells), default=first_cell),
            -step.cells,
            -path[step.key],
            index,
        )
        for index, step in enumerate(plan.steps, start=first)
    }
