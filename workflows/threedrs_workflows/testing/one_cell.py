"""The steps of one cell, one after another in this process: no journal, no cache, no retries."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.steps import StepSpec, StepTask


class OneCell:
    """Runs steps, and remembers what they made and measured."""

    def __init__(self, root: Path, gpus: Mapping[str, float] = MappingProxyType({})) -> None:
        """Where outputs go, and how many GPUs each kind of step is given."""
        self.root, self.gpus = root, gpus
        self.outputs: dict[int, Path] = {}
        """By the identity of a spec: cells share specs of equal steps."""
        self.recorders: dict[str, Recorder] = {}
        """By kind and label."""

    @property
    def measured(self) -> set[str]:
        """Names of all metrics so far."""
        return {metric.name for each in self.recorders.values() for metric in each.metrics}

    def run(self, step: StepSpec) -> Path:
        """The output of a step, and before it those of its inputs; each is run once."""
        if id(step) not in self.outputs:
            recorder = self.recorders[step.kind + step.label] = Recorder()
            self.outputs[id(step)] = self.attempt(step, recorder)
        return self.outputs[id(step)]

    def attempt(self, step: StepSpec, recorder: Recorder) -> Path:
        """Run a step, again if need be, over what an earlier attempt left in its scratch folder."""
        inputs = {name: self.run(read) for name, read in step.inputs.items()}
        folder = self.root / f"{step.kind}-{id(step)}"
        for name in ("out", "scratch"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        module, _, function = step.entry.partition(":")
        task = StepTask(
            dict(step.params), inputs, folder / "out", folder / "scratch", recorder,
            {**step.settings, "gpus": self.gpus.get(step.kind, 0)},
        )  # fmt: skip
        getattr(importlib.import_module(module), function)(task)
        return folder / "out"
