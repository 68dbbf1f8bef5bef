"""What a submission would do: every unique step, whether it is done already, and if not, why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from threedrs_platform.database.acceptances import (
    ACCEPTED,
    Acceptance,
    Acceptances,
    accepted_why,
    code_parts,
)
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.journal_writes import same_inputs
from threedrs_platform.database.past_costs import History, PastCosts
from threedrs_platform.database.step_rows import StepEntry, StepRow
from threedrs_platform.garbage import uncollected
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.states import StepState
from threedrs_platform.steps import Cell, StepSpec
from threedrs_platform.store.artifacts import ArtifactStore, Health
from threedrs_workflows.plan.chosen_steps import chosen_steps
from threedrs_workflows.plan.graph import Graph, GraphBuilder, Node
from threedrs_workflows.plan.reasons import NEW, Predecessors, Reason


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
    """Predicted run time, from what such steps of its sizes took before; None if none did."""
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
    with uncollected():
        graph = GraphBuilder(code.digest).build(cells)
        refreshed = chosen_steps(graph, cells, refresh, "--refresh")
        planner = _Planner(graph, journal, store, refreshed, code)
        return Plan(planner.steps(), tuple(cells), graph)


class _Decision(NamedTuple):
    """What is to be done about one step."""

    hit: bool
    reason: str
    """Empty where only a comparison with earlier steps can tell it."""
    row: StepRow | None
    """Of a hit, the step whose outcome counts; of a miss, its own."""
    content: str | None = None
    waits: bool = False
    is_invalid: bool = False
    twin: StepRow | None = None
    acceptance: Acceptance | None = None


class _Planner:
    """Walks the graph from inputs to users and decides each step."""

    def __init__(
        self,
        graph: Graph,
        journal: Journal,
        store: ArtifactStore,
        refreshed: Collection[str],
        code: CodeIndex,
    ) -> None:
        self._graph, self._journal, self._store = graph, journal, store
        self._refreshed, self._code = refreshed, code
        self._acceptances = Acceptances(journal.database).in_force(graph.nodes.keys())
        sources = [each.source for each in self._acceptances.values()]
        self._rows = journal.rows([*graph.nodes.keys(), *sources])
        self._read_by = journal.input_digests(sources) if sources else {}
        self._costs: PastCosts | None = None
        self._new: set[str] = set()
        self._health: dict[str, Health] = {}
        self._done: dict[str, _Decision] = {}
        self._twins: dict[str, StepRow] = {}

    def steps(self) -> tuple[PlannedStep, ...]:
        """All steps, in the graph's order."""
        for nodes in self._levels():
            contents = {node.key: self._content(node) for node in nodes}
            if wanted := {each for node in nodes if (each := self._wanted(node, contents))}:
                self._twins |= self._journal.with_content(wanted)
            for node in nodes:
                self._done[node.key] = self._decide(node, contents[node.key])
        why = self._reasons()
        return tuple(
            [self._planned(node, self._done[key], why) for key, node in self._graph.nodes.items()]
        )

    def _levels(self) -> list[list[Node]]:
        """Steps without inputs, then those that read from these alone, and so on: the journal is
        asked once for each of them."""
        depths: dict[str, int] = {}
        levels: list[list[Node]] = []
        for node in self._graph.nodes.values():
            depth = max([depths[key] for key in node.inputs.values()], default=-1) + 1
            depths[node.key] = depth
            levels += [[]] if depth == len(levels) else []
            levels[depth].append(node)
        return levels

    def _content(self, node: Node) -> str | None:
        """The content key of a step whose inputs are there."""
        digests = {}
        for name, key in node.inputs.items():
            upstream = self._done[key]
            if not upstream.hit or upstream.row is None:
                return None
            digests[name] = str(upstream.row.output_digest)
        return node.recipe.content_key(digests)

    def _wanted(self, node: Node, contents: Mapping[str, str | None]) -> str | None:
        """The content key under which a twin of a step is looked for, if it is."""
        row = self._rows.get(node.key)
        done = row is not None and row.state is StepState.SUCCEEDED
        return None if done or node.key in self._refreshed else contents[node.key]

    def _decide(self, node: Node, content: str | None) -> _Decision:
        row = self._rows.get(node.key)
        if node.key in self._refreshed:
            return _miss(row, "refreshed")
        if content is None:
            return self._waiting(node, row)
        if self._acceptances and (accepted := self._accepted(node)) is not None:
            return accepted
        if row is not None and row.state is StepState.SUCCEEDED:
            if row.content_key != content:
                return _miss(row, "input changed", content)
            health = self._check(row.output_digest)
            if health is Health.OK:
                return _Decision(True, "done", row)
            return _miss(row, f"artifact {health}", content)
        twin = self._twins.get(content)
        if twin is not None and self._check(twin.output_digest) is Health.OK:
            # The same work under another recipe: its inputs were made differently but are equal.
            return _Decision(True, same_inputs(twin), twin, twin=twin)
        return _miss(row, "", content)

    def _waiting(self, node: Node, row: StepRow | None) -> _Decision:
        if row is None:
            return _NEW_AND_WAITING
        waiting = [name for name, key in node.inputs.items() if not self._done[key].hit]
        rebuilt = [name for name in waiting if self._done[node.inputs[name]].is_invalid]
        word = "rebuilt" if rebuilt else "changed"
        return _miss(row, f"input {word}: {', '.join(rebuilt or waiting)}", waits=True)

    def _accepted(self, node: Node) -> _Decision | None:
        """A hit by results that were accepted for this step, where they have read the same."""
        acceptance = self._acceptances.get(node.key)
        source = self._rows.get(acceptance.source) if acceptance is not None else None
        if acceptance is None or source is None or source.state is not StepState.SUCCEEDED:
            return None
        reads = {name: self._done[key].row for name, key in node.inputs.items()}
        digests = {name: None if row is None else row.output_digest for name, row in reads.items()}
        same = self._read_by.get(source.key, {}) == digests
        if not same or self._check(source.output_digest) is not Health.OK:
            return None
        own = self._rows.get(node.key)
        adopted = own is not None and own.state is StepState.SUCCEEDED
        if own is not None and adopted and not accepted_why(own.reason):
            return None  # computed since: its own results count
        reason, twin = f"{ACCEPTED}{acceptance.why}", None if adopted else source
        return _Decision(True, reason, source, twin=twin, acceptance=acceptance)

    def _check(self, digest: str | None) -> Health:
        if digest is None:
            return Health.MISSING
        if digest not in self._health:
            self._health[digest] = self._store.stat_check(digest)
        return self._health[digest]

    def _reasons(self) -> Predecessors | None:
        """What tells why steps without a state of their own have to run, if there are any."""
        nodes = self._graph.nodes
        kinds = {
            nodes[key].spec.kind
            for key, each in self._done.items()
            if not each.hit and not each.reason
        }
        if not kinds:
            return None
        known = self._journal.recipes(kinds)
        current = {key: node.recipe for key, node in nodes.items()}
        if not known:
            return Predecessors(known, current)
        specs = {node.recipe.code: node.spec for node in nodes.values()}
        today = {code: self._code.details(s.entry, s.modules) for code, s in specs.items()}
        earlier = {recipe["code"] for _, recipe in known} - today.keys()
        before = code_parts(self._journal.database, earlier)
        return Predecessors(known, current, (before | today).get)

    def _planned(self, node: Node, decided: _Decision, why: Predecessors | None) -> PlannedStep:
        row, own = decided.row, self._rows.get(node.key)
        if decided.hit and row is not None:
            return PlannedStep(
                node.key,
                node.spec,
                node.recipe,
                True,
                decided.reason,
                len(node.cells),
                node.recipe.inputs,
                0.0,
                row.output_bytes,
                row.output_digest,
                row.content_key,
                is_known=own is not None,
                acceptance=decided.acceptance,
                twin=decided.twin,
            )
        past = self._past(node.key)
        told = Reason(decided.reason)
        if not decided.reason and why is not None:
            told = self._told(node, why)
        return PlannedStep(
            node.key,
            node.spec,
            node.recipe,
            False,
            told.text,
            len(node.cells),
            node.recipe.inputs,
            past.seconds if past else None,
            round(past.size) if past else None,
            None,
            decided.content,
            decided.waits,
            decided.is_invalid,
            own is not None,
            own is not None and own.state is StepState.RUNNING and not own.is_abandoned,
            None,
            told.changed_code,
        )

    def _told(self, node: Node, why: Predecessors) -> Reason:
        """Why a step is new: for being what it is, where what it reads is new in kind as well."""
        told = (
            NEW
            if self._new & set(node.inputs.values())
            else why.reason(node.recipe, node.spec.label)
        )
        if told is NEW:
            self._new.add(node.key)
        return told

    def _past(self, key: str) -> History | None:
        if self._costs is None:
            recipes = {each: node.recipe for each, node in self._graph.nodes.items()}
            self._costs = self._journal.past_costs(recipes)
        return self._costs.of(key)


_NEW_AND_WAITING = _Decision(False, "", None, waits=True)


def _miss(
    row: StepRow | None, reason: str, content: str | None = None, waits: bool = False
) -> _Decision:
    succeeded = row is not None and row.state is StepState.SUCCEEDED
    told = reason if succeeded or reason == "refreshed" else _state_reason(row)
    return _Decision(False, told, row, content, waits, succeeded and not waits)


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
