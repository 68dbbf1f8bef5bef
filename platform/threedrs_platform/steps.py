"""What a step is, and what a running step may touch. A step knows neither Ray nor SQL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from threedrs_platform.records import Metric, SampleScore

JSON = Any
"""A JSON value: str, int, float, bool, None, list of JSON or dict from str to JSON."""


@dataclass(frozen=True)
class Resources:
    """What one attempt of a step occupies. Never part of its identity."""

    cpus: float = 1
    gpus: float = 0
    memory_gib: float | None = None
    timeout_s: float | None = None
    workers: int = 1
    """Processes that share all this. Several are a group that the step starts itself, and that
    takes it: did the step hold it besides, each would wait for the other."""
    nodes: int = 1
    """Machines over which the workers are spread evenly, where somebody starts them there."""


@dataclass(frozen=True)
class StepSpec:
    """One unit of work: an entry point, the parameters it reads, and the steps it reads from."""

    kind: str
    entry: str
    """`package.module:function`; the function takes one `StepTask`."""
    params: Mapping[str, JSON]
    """Only what changes the numbers."""
    inputs: Mapping[str, StepSpec] = field(default_factory=dict)
    """Upstream steps by the name under which the function finds their artifact."""
    label: str = ""
    resources: Resources = Resources()
    version: int = 1
    """Raise it to recompute although code and parameters are equal."""
    numerics: str = "cpu-float32"
    """Device class and number formats, where they change the result."""
    settings: Mapping[str, JSON] = field(default_factory=dict)
    """How the step runs, never what it yields (checkpoint interval, workers): not in the key."""
    modules: tuple[str, ...] = ()
    """Modules of the components that `params` choose. The entry's own imports do not lead to them,
    so that a step knows its own teacher or benchmark and no other: their code is hashed besides."""


@dataclass(frozen=True)
class Cell:
    """One configuration with one seed, and the steps that make its results, by role."""

    cell_id: str
    name: str
    seed: int
    params: Mapping[str, JSON]
    steps: Mapping[str, StepSpec]
    label: str = ""


class StepRecorder(Protocol):
    """Where a step's reports go. The engine's own is `recorder.Recorder`."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Show how far the step is."""
        ...

    def metric(self, metric: Metric) -> None:
        """Keep one metric until commit."""
        ...

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        """Keep per-sample scores until commit."""
        ...

    def curve(self, step: int, values: Mapping[str, float]) -> None:
        """Keep one point of each named training curve."""
        ...

    def warn(self, message: str) -> None:
        """Show a warning and keep it with the attempt."""
        ...


@dataclass(frozen=True)
class StepTask:
    """All that a running step sees of the world.

    An attempt begins with what earlier ones left sealed in their scratch folders, and with nothing
    else: no report, no curve, no file without a seal. A step checks what it finds
    (`sealed.keep_sound`), and reports again what belongs to the state that it goes on from.
    """

    params: dict[str, JSON]
    inputs: dict[str, Path]
    """Checked-out artifact folders by input name. Read-only."""
    out: Path
    """An empty folder; its content becomes the artifact."""
    work: Path
    """Where `scratch` is, or will be."""
    recorder: StepRecorder
    settings: dict[str, JSON] = field(default_factory=dict)
    """How to run; without effect on the result."""
    log_file: Path | None = None
    """Of the attempt: processes that the step starts may leave logs of their own beside it."""

    @property
    def scratch(self) -> Path:
        """This attempt's own folder, made when it is first asked for.

        What is written with `threedrs_platform.sealed` survives in the next attempt's folder, which
        it must not be changed in place for; all is deleted after commit.
        """
        self.work.mkdir(exist_ok=True)
        return self.work

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Report progress; cheap enough for every item of a loop."""
        self.recorder.progress(done, total, note)

    def metric(self, metric: Metric) -> None:
        """Report one metric; committed together with the artifact.

        Raises:
            ValueError: the value is not a finite number.
        """
        if not math.isfinite(metric.value):
            raise ValueError(f"metric {metric.name} is {metric.value}; report finite values only")
        self.recorder.metric(metric)

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        """Report per-sample scores, for paired tests and quartiles."""
        self.recorder.sample_scores(scores)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Report training curves. A later value for the same step and name replaces it."""
        self.recorder.curve(step, values)

    def warn(self, message: str) -> None:
        """Say something the user should read although the step goes on."""
        self.recorder.warn(message)
