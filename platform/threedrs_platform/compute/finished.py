"""What a step finished and a shared store has not taken yet: kept, so that it is made once."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from threedrs_platform.compute.recorder import CurvePoint, Recorder
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.sealed import is_sound, write_sealed
from threedrs_platform.store.artifacts import Published

FILE = "finished.json"


@dataclass(frozen=True)
class Finished:
    """A step's artifact, by its digest, and all that it reported."""

    code: str
    published: Published
    metrics: tuple[Metric, ...]
    scores: tuple[SampleScore, ...]
    curves: tuple[CurvePoint, ...]
    warnings: tuple[str, ...]


def finished_work(code: str, published: Published, recorder: Recorder) -> Finished:
    """What an attempt has to show once its step function has returned."""
    return Finished(
        code,
        published,
        tuple(recorder.metrics),
        tuple(recorder.scores),
        tuple(recorder.curves),
        tuple(recorder.warnings),
    )


def keep_finished(scratch: Path, finished: Finished) -> None:
    """Write it for a later attempt of the same step on the same inputs."""
    write_sealed(scratch / FILE, partial(Path.write_text, data=json.dumps(asdict(finished))))


def read_finished(scratch: Path, code: str) -> Finished | None:
    """What an earlier attempt with this very code finished; a damaged file is none."""
    if not is_sound(scratch / FILE):
        return None
    kept = json.loads((scratch / FILE).read_text())
    if kept["code"] != code:
        return None
    return Finished(
        kept["code"],
        Published(**kept["published"]),
        tuple(_metric(each) for each in kept["metrics"]),
        tuple(SampleScore(**each) for each in kept["scores"]),
        tuple(CurvePoint(**each) for each in kept["curves"]),
        tuple(kept["warnings"]),
    )


def _metric(kept: dict[str, object]) -> Metric:
    interval = kept.pop("ci95")
    ci95 = (float(interval[0]), float(interval[1])) if isinstance(interval, list) else None
    return Metric(**kept, ci95=ci95)  # type: ignore[arg-type]
