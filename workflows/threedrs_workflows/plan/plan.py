"""What a submission would do: every unique step, whether it is done already, and if not, why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from threedrs_platform.database.acceptances import (
    ACCEPTED,
    Acceptance,
    Acceptances,
    accepted_why,
    code_parts,
)
from threedrs_platform.database.journal import CellKey, Journal, same_inputs
from threedrs_platform.database.step_rows import History, StepEntry, StepRow
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.states import StepState
from threedrs_platform.steps import Cell, StepSpec
from threedrs_platform.store.artifacts import ArtifactStore, Health
from threedrs_workflows.plan.graph import Graph, GraphBuilder, Node
from threedrs_workflows.plan.reasons import Predecessors


@dataclass(frozen=True)
class PlannedStep:
    """One unique step of a plan."""

    key: str
    spec: StepSpec
    recipe: Recipe
    hit: bool
    """Done already, by this recipe or by the same work under another one."""
    reason: str
    """Why it is a hit, or why it has to run."""
    cells: int
    """How many cells share it."""
    inputs: Mapping[str, str]
    seconds: float | None
    """Predicted run time, from what such steps took before; None without history."""
    size: int | None
    """Bytes of the artifact; predicted for a miss."""
    output_digest: str | None = None
    content_key: str | None = None
    waits_for_input: bool = False
    """Reused after all if its rebuilt input comes out the same."""
    is_invalid: bool = False
    """Succeeded once, but its artifact is missing, corrupt or refreshed."""
    is_known: bool = False
    """The journal has it, in whatever state."""
    running_elsewhere: bool = False
    acceptance: Acceptance | None = None
    """A hit by results of older code that somebody has accepted."""
    changed_code: tuple[str, ...] = ()
    """Of a miss: modules and functions that differ from those of the nearest earlier step."""
    twin: StepRow | None = None
    """A hit under another recipe: the step whose outcome is to be taken over."""

    @property
    def name(self) -> str:
        """Kind and label, for people."""
        return f"{self.spec.kind} {self.spec.label}".strip()


@dataclass(frozen=True)
class Plan:
    """A submission's steps in an order in which inputs come first, and its cells."""

    steps: tuple[PlannedStep, ...]
    cells: tuple[Cell, ...]
    graph: Graph

    @property
    def misses(self) -> tuple[PlannedStep, ...]:
        """Steps that have to run."""
        return tuple(step for step in self.steps if not step.hit)

    @property
    def hits(self) -> tuple[PlannedStep, ...]:
        """Steps that are done."""
        return tuple(step for step in self.steps if step.hit)

    @property
    def by_key(self) -> dict[str, PlannedStep]:
        """Steps by key."""
        return {step.key: step for step in self.steps}

    @property
    def links(self) -> Mapping[CellKey, Mapping[str, str]]:
        """For every cell the key of each of its steps by role."""
        return self.graph.links

    @property
    def predicted_seconds(self) -> float | None:
        """Sum of the predicted times of all misses; None if one has no history."""
        seconds = [step.seconds for step in self.misses]
        known = [value for value in seconds if value is not None]
        return sum(known) if len(known) == len(seconds) else None

    def entries(self) -> list[StepEntry]:
        """The plan as the journal takes it down."""
        return [
            StepEntry(
                step.key,
                step.spec,
                step.recipe,
                not step.hit,
                step.reason,
                step.is_known,
                step.is_invalid,
            )
            for step in self.steps
        ]


def make_plan(
    cells: Sequence[Cell],
    journal: Journal,
    store: ArtifactStore,
    refresh: Collection[str] = (),
    code: CodeIndex | None = None,
) -> Plan:
    """Find out what is done and what has to run. Changes nothing.

    Args:
        refresh: `KIND` or `KIND@CELL` (a cell's id or name): steps to compute again.
        code: code digests; give the workspace's, which remembers unchanged files.

    Raises:
        ConfigError: a refresh that names no step, or a step whose identity cannot be computed.
    """
    code = code or CodeIndex()
    graph = GraphBuilder(code.digest).build(cells)
    refreshed = chosen_steps(graph, cells, refresh, "--refresh")
    planner = _Planner(graph, journal, store, refreshed)
    steps = planner.steps()
    return Plan(tuple(_explain(steps, journal, code)), tuple(cells), graph)


class _Planner:
    """Walks the graph from inputs to users and decides each step."""

    def __init__(
        self, graph: Graph, journal: Journal, store: ArtifactStore, refreshed: Collection[str]
    ) -> None:
        self._graph, self._journal, self._store = graph, journal, store
        self._refreshed = refreshed
        self._acceptances = Acceptances(journal.database).in_force(graph.nodes.keys())
        sources = [each.source for each in self._acceptances.values()]
        self._rows = journal.rows([*graph.nodes.keys(), *sources])
        self._read_by = journal.input_digests(sources)
        self._history: dict[tuple[str, str], History] | None = None
        self._health: dict[str, Health] = {}
        self._done: dict[str, PlannedStep] = {}
        self._twins: dict[str, StepRow] = {}

    def steps(self) -> list[PlannedStep]:
        """All steps, in the graph's order."""
        for nodes in self._levels():
            self._twins |= self._journal.with_content([*filter(None, map(self._wanted, nodes))])
            for node in nodes:
                self._done[node.key] = self._decide(node)
        return [self._done[key] for key in self._graph.nodes]

    def _levels(self) -> list[list[Node]]:
        """Steps without inputs, then those that read from these alone, and so on: the journal is
        asked once for each of them."""
        depths: dict[str, int] = {}
        levels: list[list[Node]] = []
        for node in self._graph.nodes.values():
            depth = max((depths[key] + 1 for key in node.inputs.values()), default=0)
            depths[node.key] = depth
            levels += [[]] if depth == len(levels) else []
            levels[depth].append(node)
        return levels

    def _wanted(self, node: Node) -> str | None:
        """The content key under which a twin of a step is looked for, if it is."""
        row = self._rows.get(node.key)
        done = row is not None and row.state is StepState.SUCCEEDED
        if done or node.key in self._refreshed or self._waiting(node):
            return None
        return node.recipe.content_key(self._digests(node))

    def _waiting(self, node: Node) -> list[str]:
        """Names of the inputs that are not done."""
        return [name for name, key in node.inputs.items() if not self._done[key].hit]

    def _digests(self, node: Node) -> dict[str, str]:
        return {name: self._digest(key) for name, key in node.inputs.items()}

    def _decide(self, node: Node) -> PlannedStep:
        row = self._rows.get(node.key)
        if node.key in self._refreshed:
            return self._miss(node, row, "refreshed")
        if waiting := self._waiting(node):
            return self._miss(node, row, self._wait_reason(node, waiting), waits=True)
        digests = self._digests(node)
        content = node.recipe.content_key(digests)
        if (accepted := self._accepted(node, digests)) is not None:
            return accepted
        if row is not None and row.state is StepState.SUCCEEDED:
            if row.content_key != content:
                return self._miss(node, row, "input changed", content=content)
            health = self._check(row.output_digest)
            if health is Health.OK:
                return self._hit(node, row, "done")
            return self._miss(node, row, f"artifact {health}", content=content)
        return self._twin(node, content) or self._miss(node, row, "", content=content)

    def _accepted(self, node: Node, digests: Mapping[str, str]) -> PlannedStep | None:
        """A hit by results that were accepted for this step, where they have read the same."""
        acceptance = self._acceptances.get(node.key)
        source = self._rows.get(acceptance.source) if acceptance is not None else None
        if acceptance is None or source is None or source.state is not StepState.SUCCEEDED:
            return None
        same = self._read_by.get(source.key, {}) == dict(digests)
        if not same or self._check(source.output_digest) is not Health.OK:
            return None
        own = self._rows.get(node.key)
        adopted = own is not None and own.state is StepState.SUCCEEDED
        if own is not None and adopted and not accepted_why(own.reason):
            return None  # computed since: its own results count
        hit = self._hit(node, source, f"{ACCEPTED}{acceptance.why}")
        return replace(hit, twin=None if adopted else source, acceptance=acceptance)

    def _digest(self, key: str) -> str:
        digest = self._done[key].output_digest
        assert digest is not None
        return digest

    def _twin(self, node: Node, content: str) -> PlannedStep | None:
        """The same work under another recipe: its inputs were made differently but are equal."""
        twin = self._twins.get(content)
        if twin is None or self._check(twin.output_digest) is not Health.OK:
            return None
        return replace(self._hit(node, twin, same_inputs(twin)), twin=twin)

    def _check(self, digest: str | None) -> Health:
        if digest is None:
            return Health.MISSING
        if digest not in self._health:
            self._health[digest] = self._store.stat_check(digest)
        return self._health[digest]

    def _wait_reason(self, node: Node, waiting: Sequence[str]) -> str:
        rebuilt = [name for name in waiting if self._done[node.inputs[name]].is_invalid]
        word = "rebuilt" if rebuilt else "changed"
        return f"input {word}: {', '.join(rebuilt or waiting)}"

    def _hit(self, node: Node, row: StepRow, reason: str) -> PlannedStep:
        return PlannedStep(
            node.key,
            node.spec,
            node.recipe,
            True,
            reason,
            len(node.cells),
            node.inputs,
            0.0,
            row.output_bytes,
            row.output_digest,
            row.content_key,
            is_known=node.key in self._rows,
        )

    def _miss(
        self,
        node: Node,
        row: StepRow | None,
        reason: str,
        content: str | None = None,
        waits: bool = False,
    ) -> PlannedStep:
        past = self._past(node.spec)
        succeeded = row is not None and row.state is StepState.SUCCEEDED
        return PlannedStep(
            node.key,
            node.spec,
            node.recipe,
            False,
            reason if succeeded or reason == "refreshed" else _state_reason(row),
            len(node.cells),
            node.inputs,
            past.seconds if past else None,
            round(past.size) if past else None,
            content_key=content,
            waits_for_input=waits,
            is_known=row is not None,
            is_invalid=succeeded and not waits,
            running_elsewhere=row is not None
            and row.state is StepState.RUNNING
            and not row.is_abandoned,
        )

    def _past(self, spec: StepSpec) -> History | None:
        if self._history is None:
            self._history = self._journal.history()
        return self._history.get((spec.kind, spec.label)) or self._history.get((spec.kind, ""))


def _state_reason(row: StepRow | None) -> str:
    """Why a known step has no result; empty for one that must be compared with others."""
    if row is None:
        return ""
    if row.state is StepState.RUNNING:
        return "interrupted" if row.is_abandoned else "running in another submission"
    if row.state is StepState.FAILED:
        return f"failed before ({row.failure}): {row.message}"
    if row.state is StepState.BLOCKED:
        return "an input failed before"
    if row.state is StepState.CANCELLED:
        return "cancelled before"
    if row.epoch:
        return row.reason if row.reason.startswith(("artifact", "refreshed")) else "interrupted"
    return ""


def _explain(steps: Sequence[PlannedStep], journal: Journal, code: CodeIndex) -> list[PlannedStep]:
    """Fill in why steps without a state of their own have to run."""
    open_steps = [step for step in steps if not step.hit and not step.reason]
    if not open_steps:
        return list(steps)
    known = journal.recipes({step.spec.kind for step in open_steps})
    specs = {step.recipe.code: step.spec for step in steps}
    today = {digest: code.details(spec.entry, spec.modules) for digest, spec in specs.items()}
    before = code_parts(journal.database, {recipe["code"] for _, recipe in known} - today.keys())
    predecessors = Predecessors(
        known, {step.key: step.recipe for step in steps}, (before | today).get
    )
    return [_explained(step, predecessors) for step in steps]


def _explained(step: PlannedStep, predecessors: Predecessors) -> PlannedStep:
    if step.hit or step.reason:
        return step
    reason = predecessors.reason(step.recipe, step.spec.label)
    return replace(step, reason=reason.text, changed_code=reason.changed_code)


def chosen_steps(
    graph: Graph, cells: Sequence[Cell], wanted: Collection[str], flag: str
) -> set[str]:
    """Keys of the steps that `KIND` or `KIND@CELL` name.

    Raises:
        ConfigError: one of them names none; `flag` is where it stands.
    """
    chosen: set[str] = set()
    faults = []
    for target in wanted:
        kind, _, place = target.partition("@")
        found = {
            node.key
            for node in graph.nodes.values()
            if node.spec.kind == kind and (not place or node.cells & _named(cells, place))
        }
        if not found and place and kind in {node.spec.kind for node in graph.nodes.values()}:
            known = ", ".join(dict.fromkeys(cell.label or cell.name for cell in cells))
            faults.append(Fault(f"no cell {place!r} has a step {kind!r}; cells: {known}", flag))
        elif not found:
            kinds = sorted({node.spec.kind for node in graph.nodes.values()})
            faults.append(Fault(f"{target!r} names no step; kinds here: {', '.join(kinds)}", flag))
        chosen |= found
    if faults:
        raise ConfigError(faults)
    return chosen


def _named(cells: Sequence[Cell], place: str) -> set[CellKey]:
    return {
        CellKey(cell.cell_id, cell.seed)
        for cell in cells
        if place in (cell.cell_id, cell.name, cell.label)
    }
