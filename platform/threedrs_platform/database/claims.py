"""The right to commit a step, and what is handed over with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.records import Metric, SampleScore


@dataclass(frozen=True)
class Claim:
    """The right to commit one step, as long as no newer epoch exists."""

    key: str
    epoch: int


@dataclass(frozen=True)
class Start:
    """What is written down of an attempt that is about to begin."""

    log_file: str
    """With `{attempt}` for its number."""
    note: str = ""
    """Why it is not the first; empty if it is."""

    def log_of(self, claim: Claim) -> str:
        """The log file of the attempt under a claim."""
        return self.log_file.replace("{attempt}", str(claim.epoch))


@dataclass(frozen=True)
class Outcome:
    """All that a successful attempt hands to its commit."""

    digest: str
    content_key: str
    input_digests: Mapping[str, str]
    size: int = 0
    files: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    max_rss: int = 0
    node: str = ""
    pid: int = 0
    metrics: Sequence[Metric] = ()
    scores: Sequence[SampleScore] = ()
    curves: Sequence[CurvePoint] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class CellKey:
    """A cell of a run, under one seed."""

    cell_id: str
    seed: int
