"""Cells to unique steps: one node per recipe key, inputs before their users."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from threedrs_platform.database.claims import CellKey
from threedrs_platform.identity.canonical import Fragments
from threedrs_platform.identity.recipes import CodeDigest, Recipe, make_recipe
from threedrs_platform.steps import Cell, StepSpec


@dataclass(frozen=True)
class Node:
    """One unique step."""

    key: str
    spec: StepSpec
    recipe: Recipe
    cells: set[CellKey] = field(default_factory=set)
    """The cells that need it, directly or through other steps."""
    users: set[str] = field(default_factory=set)
    """Keys of the steps that read its artifact."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Keys of the steps it reads from, by input name."""
        return self.recipe.inputs


@dataclass(frozen=True)
class Graph:
    """All steps of a submission."""

    nodes: Mapping[str, Node]
    """By key, in an order in which inputs come first."""
    links: Mapping[CellKey, Mapping[str, str]]
    """For every cell the key of each of its steps by role."""


class GraphBuilder:
    """Gives every step its key, once per distinct step however many cells share it."""

    def __init__(self, code: Callable[[str, Sequence[str]], CodeDigest]) -> None:
        self._code = cache(code)
        self._fragments = Fragments()
        self._forms: dict[tuple[Hashable, ...], Recipe] = {}
        """A recipe for each work, on whatever inputs it was met first."""
        self._nodes: dict[str, Node] = {}
        self._key_of: dict[int, str] = {}
        self._alive: list[StepSpec] = []

    def build(self, cells: Sequence[Cell]) -> Graph:
        """The graph of all cells."""
        links, nodes = {}, self._nodes
        for cell in cells:
            cell_key = CellKey(cell.cell_id, cell.seed)
            roles = {role: self.key(spec) for role, spec in cell.steps.items()}
            if unnamed := self._unnamed(roles.values()):
                roles |= unnamed
            links[cell_key] = roles
            for key in roles.values():
                nodes[key].cells.add(cell_key)
        return Graph(nodes, links)

    def key(self, spec: StepSpec) -> str:
        """Recipe key of a step, adding it and its inputs to the graph if they are new."""
        known = self._key_of.get(id(spec))
        if known is not None:
            return known
        inputs = {name: self.key(spec.inputs[name]) for name in sorted(spec.inputs)}
        recipe = self._recipe(spec, inputs)
        key = recipe.key()
        if key not in self._nodes:
            self._nodes[key] = Node(key, spec, recipe)
            for upstream in inputs.values():
                self._nodes[upstream].users.add(key)
        self._key_of[id(spec)] = key
        self._alive.append(spec)  # an id names an object only while it lives
        return key

    def _recipe(self, spec: StepSpec, inputs: Mapping[str, str]) -> Recipe:
        """Composed once for steps that differ in their inputs alone; their parameters are one
        object."""
        work = (spec.kind, spec.entry, spec.modules, spec.version, spec.numerics)
        form = (*work, id(spec.params))
        if form in self._forms:
            return self._forms[form].reading(inputs)
        code = self._code(spec.entry, spec.modules)
        self._forms[form] = recipe = make_recipe(spec, code, inputs, self._fragments)
        return recipe

    def _unnamed(self, named: Iterable[str]) -> dict[str, str]:
        """Steps that a cell needs but gives no role: they are listed under kind and key."""
        nodes = self._nodes
        known, waiting = set(named), list(named)
        extra: dict[str, str] = {}
        if all(known.issuperset(nodes[key].recipe.inputs.values()) for key in waiting):
            return extra
        while waiting:
            for upstream in self._nodes[waiting.pop()].inputs.values():
                if upstream not in known:
                    known.add(upstream)
                    waiting.append(upstream)
                    extra[f"{self._nodes[upstream].spec.kind}:{upstream[:8]}"] = upstream
        return extra
