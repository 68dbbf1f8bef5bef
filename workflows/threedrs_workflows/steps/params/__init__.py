"""Parameters of steps: one frozen typed value per kind, written by the plan, read by the step.

One file per kind of step, because a step's key hashes what the step imports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from threedrs_platform.config import Config, merged
from threedrs_platform.config.kinds import Chosen
from threedrs_platform.steps import StepSpec, StepTask


class StepParams(Config):
    """What a step is told. Fields that change no number carry a mark and stay out of its key."""

    def step(
        self, kind: str, inputs: Mapping[str, StepSpec], *, label: str = "", **more: Any
    ) -> StepSpec:
        """A step of a kind with these parameters.

        Args:
            kind: names the module of `steps` whose `run` executes it.
            inputs: the steps it reads from, by the name under which it finds them.
            label: tells it from others of its kind, for people.
            more: further fields of the spec.
        """
        return StepSpec(
            kind,
            f"threedrs_workflows.steps.{kind}:run",
            self.identity(),
            modules=tuple(sorted(set(_modules(self)))),
            inputs=inputs,
            label=label,
            settings=self.remainder(),
            **more,
        )

    @classmethod
    def of(cls, task: StepTask | StepSpec) -> Self:
        """The parameters of a running step, or of a planned one."""
        own = {name: each for name, each in task.settings.items() if name in cls.model_fields}
        return cls.model_validate(merged(task.params, own))


def _modules(value: Any) -> Iterator[str]:
    """Modules of all components that were chosen somewhere inside a value."""
    if isinstance(value, Chosen):
        yield value.module
        yield from value.more
    elif isinstance(value, Config):
        for name in type(value).model_fields:
            yield from _modules(getattr(value, name))
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _modules(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _modules(below)
