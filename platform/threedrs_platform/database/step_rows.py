"""Steps as rows of the journal: on their way in, rebuilt as specs, and asked after by key (states),
by content (twins) and by kind (what they cost).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Connection,
    CursorResult,
    String,
    any_,
    bindparam,
    func,
    select,
)

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.kept_json import damaged, kept_object
from threedrs_platform.database.owners import is_dead
from threedrs_platform.database.past_costs import Cost, PastCosts, Sizes
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.database.urls import SQLITE
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.states import StepState
from threedrs_platform.steps import Resources, StepSpec

KEYS_PER_QUERY = 5000
MOST_TOLD = 2000
"""Steps with recipes that are looked at, where some are enough."""
TELLING = 500
"""Steps of one kind, the newest, that tell what others will cost."""
_steps = schema.steps
_MADE: WeakKeyDictionary[Database, dict[str, str]] = WeakKeyDictionary()
"""Sizes of each database's steps by key, which pages ask for every few seconds."""


@dataclass(frozen=True)
class StepRow:
    """One step as the journal knows it."""

    key: str
    kind: str
    label: str
    state: StepState
    reason: str
    content_key: str | None
    output_digest: str | None
    output_bytes: int | None
    seconds: float | None
    owner: str | None
    epoch: int
    failure: str | None
    message: str | None
    lease_expired: bool

    @property
    def is_abandoned(self) -> bool:
        """Running on paper only: the lease ran out, or its owner is provably dead."""
        return self.state is StepState.RUNNING and (self.lease_expired or is_dead(self.owner))


_EXPIRED: ColumnElement[bool] = func.coalesce(_steps.c.lease_until < now(), True).label("expired")
_COLUMNS = [_steps.c[f.name] for f in fields(StepRow) if f.name != "lease_expired"]
_VALUES: BindParameter[Any] = bindparam("wanted", expanding=True)


@dataclass(frozen=True)
class Lookup:
    """A statement that is given many values at once, however many, in one parameter `wanted`."""

    of_sqlite: Prepared
    of_postgresql: Prepared

    @classmethod
    def of(cls, make: Callable[[Any], Any], column: ColumnElement[str]) -> Lookup:
        """Make it of what makes a statement of the condition that a column is among the values."""
        listed = func.json_each(bindparam("wanted", type_=String)).table_valued("value")
        among = column == any_(bindparam("wanted", type_=ARRAY(String)))
        return cls(Prepared(make(column.in_(select(listed.c.value)))), Prepared(make(among)))

    def run(
        self, connection: Connection, wanted: Collection[str], **values: Any
    ) -> CursorResult[*tuple[Any, ...]]:
        """Run it."""
        if connection.dialect.name == SQLITE:
            return self.of_sqlite.run(connection, {"wanted": json.dumps([*wanted]), **values})
        return self.of_postgresql.run(connection, {"wanted": [*wanted], **values})


_BY_KEY = Lookup.of(select(*_COLUMNS, _EXPIRED).where, _steps.c.key)
_BY_CONTENT = Lookup.of(
    select(*_COLUMNS, _EXPIRED).where(_steps.c.state == "succeeded").where, _steps.c.content_key
)


class StepReader:
    """Reads the journal's steps and changes none."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def rows(self, keys: Collection[str]) -> dict[str, StepRow]:
        """Rows by key; a key that the journal does not know has none."""
        return {row.key: row for row in self._find(_BY_KEY, keys)}

    def with_content(self, content_keys: Collection[str]) -> dict[str, StepRow]:
        """A succeeded step for each content key that has one."""
        found = self._find(_BY_CONTENT, content_keys)
        return {row.content_key: row for row in found if row.content_key}

    def past_costs(self, current: Mapping[str, Recipe | Mapping[str, Any]]) -> PastCosts:
        """What steps will cost, as the newest of their kinds that succeeded tell.

        Args:
            current: recipes of the steps that will be asked after, and of what they read, by key.
        """
        kinds = {str(_plain(recipe)["kind"]) for recipe in current.values()}
        return self._told(kinds, current, ())

    def past_costs_of(self, kinds: Mapping[str, str]) -> PastCosts:
        """The same for steps that the journal knows.

        Args:
            kinds: kinds of the steps that will be asked after, by key.
        """
        return self._told(set(kinds.values()), {}, kinds)

    def _told(
        self,
        kinds: Collection[str],
        current: Mapping[str, Recipe | Mapping[str, Any]],
        others: Collection[str],
    ) -> PastCosts:
        rows = self._newest_done(kinds) if kinds else []
        costs = [Cost(row.key, float(row.seconds), float(row.output_bytes or 0)) for row in rows]
        return PastCosts(costs, self.sizes(current, {*others, *(row.key for row in rows)}))

    def sizes(
        self, current: Mapping[str, Recipe | Mapping[str, Any]], others: Collection[str]
    ) -> Sizes:
        """Sizes of these steps, and of others that the journal knows.

        Args:
            current: as of `past_costs`.
            others: their keys.
        """
        made = _MADE.setdefault(self.database, {})
        found = dict(current)
        wanted = set(others) - found.keys() - made.keys()
        while wanted:  # what is read may be older than all that is asked after
            recipes = self.recipes_of(wanted)
            found |= recipes
            inputs = {key for recipe in recipes.values() for key in recipe["inputs"].values()}
            wanted = inputs - found.keys() - made.keys()
        return Sizes(found, made)

    @whole_turn
    def _newest_done(self, kinds: Collection[str]) -> Sequence[Any]:
        newest = func.row_number().over(
            partition_by=_steps.c.kind, order_by=(_steps.c.created_at.desc(), _steps.c.key)
        )
        done = (
            select(_steps.c.key, _steps.c.seconds, _steps.c.output_bytes, newest.label("place"))
            .where(_steps.c.state == "succeeded", _steps.c.seconds.is_not(None))
            .where(_steps.c.kind.in_(kinds))
            .subquery()
        )
        query = select(done).where(done.c.place <= TELLING)
        with self.database.read() as connection:
            return connection.execute(query).all()

    @whole_turn
    def input_digests(self, keys: Collection[str]) -> dict[str, dict[str, str | None]]:
        """Digests of what steps have read, by step and name of the input."""
        table = schema.step_inputs
        found: dict[str, dict[str, str | None]] = {}
        with self.database.read() as connection:
            for chunk in chunks(keys):
                for row in connection.execute(select(table).where(table.c.step_key.in_(chunk))):
                    found.setdefault(row.step_key, {})[row.name] = row.digest
        return found

    @whole_turn
    def recipes(
        self, kinds: Collection[str], most: int | None = MOST_TOLD
    ) -> list[tuple[StepRow, Any]]:
        """Steps of some kinds with their recipes.

        The newest of every kind and label come first, then the second ones, and so on: a kind of
        which there are thousands crowds no other out.

        Args:
            kinds: of the steps.
            most: how many; None = all.
        """
        newest = (_steps.c.created_at.desc(), _steps.c.key)
        place = func.row_number().over(
            partition_by=(_steps.c.kind, _steps.c.label), order_by=newest
        )
        chosen = (
            select(_steps.c.key, place.label("place"))
            .where(_steps.c.kind.in_(kinds))
            .order_by("place", *newest)
            .limit(most)
            .subquery()
        )
        query = (
            select(*_COLUMNS, _EXPIRED, _steps.c.recipe_json)
            .join(chosen, chosen.c.key == _steps.c.key)
            .order_by(chosen.c.place, *newest)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [(_row(row[:-1]), kept_object(row.recipe_json, "a recipe")) for row in rows]

    @whole_turn
    def recipes_of(self, keys: Collection[str]) -> dict[str, Any]:
        """Recipes of the known ones among the keys."""
        query = select(_steps.c.key, _steps.c.recipe_json).where(_steps.c.key.in_(_VALUES))
        with self.database.read() as connection:
            return {
                row.key: kept_object(row.recipe_json, "a recipe")
                for chunk in chunks(keys)
                for row in connection.execute(query, {"wanted": chunk})
            }

    @whole_turn
    def _find(self, lookup: Lookup, values: Collection[str]) -> list[StepRow]:
        if not values:
            return []
        with self.database.read() as connection:
            return [_row(row) for row in lookup.run(connection, values)]


def _plain(recipe: Recipe | Mapping[str, Any]) -> Mapping[str, Any]:
    return recipe.plain if isinstance(recipe, Recipe) else recipe


def chunks(values: Collection[str]) -> Iterator[list[str]]:
    """The values in pieces that fit into one query each."""
    rest = iter(values)
    while chunk := list(islice(rest, KEYS_PER_QUERY)):
        yield chunk


def _row(values: Any) -> StepRow:
    key, kind, label, state, *rest, expired = values
    known: Any = (key, kind, label, StepState(state), *rest, bool(expired))
    return StepRow(*known)


@dataclass(frozen=True)
class StepEntry:
    """One step of a plan, on its way into the journal."""

    key: str
    spec: StepSpec
    recipe: Recipe
    to_run: bool
    reason: str
    is_known: bool = False
    """The journal has it already."""
    is_invalid: bool = False
    """Succeeded once, but its artifact is gone, bad or unwanted."""


def step_row(entry: StepEntry, at: float) -> dict[str, Any]:
    """A step as a new row of the journal."""
    return {
        "key": entry.key,
        "kind": entry.spec.kind,
        "label": entry.spec.label,
        "state": StepState.PENDING,
        "reason": entry.reason,
        "recipe_json": entry.recipe.json(),
        "spec_json": spec_json(entry.spec),
        "epoch": 0,
        "created_at": at,
        "updated_at": at,
    }


def spec_json(spec: StepSpec) -> str:
    """All of a spec but its inputs and what the step's row already says."""
    kept = {"entry": spec.entry, "params": spec.params, "version": spec.version}
    kept |= {"numerics": spec.numerics, "resources": asdict(spec.resources)}
    kept |= {"settings": dict(spec.settings), "modules": list(spec.modules)}
    return json.dumps(kept)


def load_specs(connection: Connection, keys: set[str]) -> dict[str, StepSpec]:
    """Rebuild the specs of a closed set of steps from the journal."""
    ordered = sorted(keys)
    rows, inputs = {}, {}  # type: dict[str, Any], dict[str, dict[str, str]]
    for chunk in chunks(ordered):
        for row in connection.execute(select(_steps).where(_steps.c.key.in_(chunk))):
            rows[row.key] = row
        table = schema.step_inputs
        for row in connection.execute(select(table).where(table.c.step_key.in_(chunk))):
            inputs.setdefault(row.step_key, {})[row.name] = row.input_key
    built: dict[str, StepSpec] = {}  # cells share steps, so their specs share objects

    def build(key: str) -> StepSpec:
        if key not in built:
            row, kept = rows[key], kept_object(rows[key].spec_json, "a step")
            upstream = {name: build(up) for name, up in inputs.get(key, {}).items()}
            try:
                resources = Resources(**kept.pop("resources"))
                kept["modules"] = tuple(kept["modules"])
                built[key] = StepSpec(
                    row.kind, inputs=upstream, label=row.label, resources=resources, **kept
                )
            except (KeyError, TypeError) as error:
                raise damaged("a step") from error
        return built[key]

    return {key: build(key) for key in ordered}
