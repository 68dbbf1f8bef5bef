"""Which steps share a job array: those whose kinds need the same machines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from threedrs_platform.steps import StepSpec
from threedrs_workflows.grid.slurm_section import SlurmSettings


@dataclass(frozen=True)
class Needs:
    """What one job of an array occupies, on each of its nodes."""

    cpus: int
    gpus: int
    memory_gib: int
    """0: what the partition gives."""
    nodes: int = 1


@dataclass(frozen=True)
class Group:
    """Steps that one job array does."""

    kinds: tuple[str, ...]
    needs: Needs
    settings: SlurmSettings
    steps: int

    @property
    def name(self) -> str:
        """For people and files: its kinds."""
        return "-".join(self.kinds) if len(self.kinds) <= 2 else f"light-{self.kinds[0]}"

    @property
    def jobs(self) -> int:
        """How many jobs are of use."""
        return min(self.steps, self.settings.max_jobs)


def groups_of(
    steps: Iterable[StepSpec], settings: Mapping[str, SlurmSettings], most_jobs: int | None = None
) -> list[Group]:
    """Groups of steps that are to run; light ones first, because others wait for them.

    Steps of one kind on different numbers of nodes are in different groups: on more machines than
    it asks for, a step would leave some idle, or not be spread evenly.

    Args:
        steps: to be done.
        settings: of the kinds of steps that have some.
        most_jobs: a limit of the command line, for each group.
    """
    needs: dict[tuple[str, int], Needs] = {}
    counts: Counter[tuple[str, int]] = Counter()
    for step in steps:
        wanted = step.resources
        which = (step.kind, wanted.nodes)
        before = needs.get(which, Needs(1, 0, 0, wanted.nodes))
        needs[which] = Needs(
            max(before.cpus, math.ceil(wanted.cpus / wanted.nodes)),
            max(before.gpus, math.ceil(wanted.gpus / wanted.nodes)),
            max(before.memory_gib, math.ceil((wanted.memory_gib or 0) / wanted.nodes)),
            wanted.nodes,
        )
        counts[which] += 1
    members: dict[tuple[Needs, SlurmSettings], list[str]] = {}
    for (kind, _), need in needs.items():
        chosen = settings.get(kind, SlurmSettings())
        if most_jobs is not None:
            fewer = {"max_jobs": min(most_jobs, chosen.max_jobs)}
            chosen = chosen.model_copy(update=fewer)
        members.setdefault((need, chosen), []).append(kind)
    found = [
        Group(tuple(kinds), need, chosen, sum(counts[kind, need.nodes] for kind in kinds))
        for (need, chosen), kinds in members.items()
    ]
    return sorted(found, key=_heaviness)


def _heaviness(group: Group) -> tuple[object, ...]:
    needs = group.needs
    return needs.nodes * needs.gpus, needs.nodes * needs.cpus, group.kinds
