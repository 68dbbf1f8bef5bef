"""Which steps of a plan could take the results of older code, and which could not, and why not."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from threedrs_platform.database.acceptances import Proposal, first_seen
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import StepState
from threedrs_platform.store.artifacts import ArtifactStore, Health
from threedrs_workflows.plan.chosen_steps import chosen_steps
from threedrs_workflows.plan.plan import Plan, PlannedStep

MAY_DIFFER = frozenset({"code", "entry", "inputs"})
"""Fields of a recipe in which old and new step may differ; inputs are compared by their content."""


def propose(
    plan: Plan,
    journal: Journal,
    store: ArtifactStore,
    targets: Collection[str],
    old_code: str = "",
) -> list[Proposal]:
    """Results of older code for steps that would have to run.

    Args:
        plan: of today's code.
        journal: with the results.
        store: with their artifacts.
        targets: `KIND` or `KIND@CELL`.
        old_code: beginning of the digest of the code whose results are meant, where several codes
            gave different ones.

    Raises:
        ConfigError: a target names no step, or for one of its steps there are no results that
            differ in their code alone; all of them at once.
    """
    chosen = chosen_steps(plan.graph, plan.cells, targets, "STEP")
    search = _Search(plan, journal, store, old_code)
    proposals, faults = [], []
    for step in plan.steps:
        found = search.look(step, wanted=step.key in chosen)
        if isinstance(found, Proposal):
            proposals.append(found)
        elif found:
            faults.append(Fault(found, f"{step.name} {step.key[:12]}"))
    if faults:
        raise ConfigError(faults)
    return proposals


class _Search:
    """Walks a plan from inputs to users, with what would be there once proposals are accepted."""

    def __init__(self, plan: Plan, journal: Journal, store: ArtifactStore, old_code: str) -> None:
        self._journal, self._store, self._old_code = journal, store, old_code
        self._digests = {step.key: step.output_digest for step in plan.hits}
        kinds = {step.spec.kind for step in plan.misses}
        self._earlier = [
            (row, recipe)
            for row, recipe in journal.recipes(kinds, most=None)
            if row.state is StepState.SUCCEEDED
        ]
        self._read_by = journal.input_digests([row.key for row, _ in self._earlier])

    def look(self, step: PlannedStep, *, wanted: bool) -> Proposal | str | None:
        """A proposal for a step that is wanted; else why there is none, None if none is needed."""
        if step.hit:
            return None
        inputs = {name: self._digests.get(key) for name, key in step.inputs.items()}
        missing = [name for name, digest in inputs.items() if digest is None]
        if missing:
            return f"its input {missing[0]} has no results; accept those, too" if wanted else None
        content = step.recipe.content_key({name: str(each) for name, each in inputs.items()})
        if twin := self._journal.with_content([content]).get(content):
            self._digests[step.key] = twin.output_digest  # reused without anybody's word
            return None
        if not wanted:
            return None
        sources = [
            (row, recipe)
            for row, recipe in self._of(step)
            if not list(_differences(recipe, step)) and self._read_by.get(row.key, {}) == inputs
        ]
        usable = [each for each in sources if self._is_there(each[0])]
        if not usable:
            return self._refusal(step, inputs, bool(sources))
        meant = [each for each in usable if each[1]["code"].startswith(self._old_code)]
        if len({row.output_digest for row, _ in meant}) != 1:
            return self._several(usable)
        row, recipe = meant[0]
        self._digests[step.key] = row.output_digest
        return Proposal(
            step.key,
            row.key,
            step.spec.kind,
            step.spec.label,
            recipe["code"],
            step.recipe.code,
            step.changed_code,
        )

    def _of(self, step: PlannedStep) -> Iterator[tuple[StepRow, Any]]:
        """Earlier steps of a kind and label, newest first."""
        for row, recipe in self._earlier:
            if (row.kind, row.label) == (step.spec.kind, step.spec.label) and row.key != step.key:
                yield row, recipe

    def _is_there(self, row: StepRow) -> bool:
        digest = row.output_digest
        return digest is not None and self._store.stat_check(digest) is Health.OK

    def _several(self, usable: Sequence[tuple[StepRow, Any]]) -> str:
        """Nobody but the user can know which of several different results were meant."""
        codes = list(dict.fromkeys(recipe["code"] for _, recipe in usable))
        seen = first_seen(self._journal.database, codes)
        listed = [
            code[:12] + time.strftime(" (%Y-%m-%d %H:%M)", time.localtime(seen[code]))
            if code in seen
            else code[:12]
            for code in codes
        ]
        return f"choose by --from CODE among results of code {', '.join(listed)}"

    def _refusal(self, step: PlannedStep, inputs: Mapping[str, Any], lost: bool) -> str:
        if lost:
            return "the artifact of its earlier results is missing or damaged"
        candidates = list(self._of(step))
        if not candidates:
            return "there are no earlier results"
        differing = [list(_differences(recipe, step)) for _, recipe in candidates]
        nearest = min(differing, key=len)
        if nearest:
            return f"only code may differ, but earlier results have other {', '.join(nearest)}"
        row = candidates[differing.index(nearest)][0]
        read = self._read_by.get(row.key, {})
        others = sorted(name for name, digest in inputs.items() if read.get(name) != digest)
        return f"only code may differ, but earlier results have read other {', '.join(others)}"


def _differences(recipe: Any, step: PlannedStep) -> Iterator[str]:
    """Fields of a recipe, other than its code, in which an earlier step differs."""
    mine = step.recipe.plain
    for name, value in mine.items():
        if name not in MAY_DIFFER and recipe[name] != value:
            yield {"params": "parameters"}.get(name, name)
