"""Steps on their way into the journal and back: what a row keeps of a spec."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select

from threedrs_platform.database import schema
from threedrs_platform.database.step_rows import chunks
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.states import StepState
from threedrs_platform.steps import Resources, StepSpec

_steps = schema.steps


@dataclass(frozen=True)
class StepEntry:
    """One step of a plan, as the journal takes it down."""

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
    built: dict[str, StepSpec] = {}

    def build(key: str) -> StepSpec:
        if key not in built:
            row, kept = rows[key], json.loads(rows[key].spec_json)
            upstream = {name: build(up) for name, up in inputs.get(key, {}).items()}
            resources = Resources(**kept.pop("resources"))
            kept["modules"] = tuple(kept["modules"])
            built[key] = StepSpec(
                row.kind, inputs=upstream, label=row.label, resources=resources, **kept
            )
        return built[key]

    return {key: build(key) for key in ordered}
