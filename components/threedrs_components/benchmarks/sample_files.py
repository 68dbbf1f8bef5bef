"""Samples on disk: JSON Lines of `records.Sample`, so that training reads no benchmark's format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from threedrs_platform.records import Sample

_SAMPLE = TypeAdapter(Sample)

LEFT_OUT_FILE = "left_out.json"
"""Beside predictions: ids of evaluated scenes that nobody was asked about, as they are unusable."""
HELD_OUT_FILE = "held_out.json"
"""Beside samples: names the scenes that training may look at without training on them."""


def sample_json(sample: Sample) -> str:
    """One sample as JSON text."""
    return json.dumps(asdict(sample), ensure_ascii=False)


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Write one JSON object per line; returns how many."""
    lines = [sample_json(sample) for sample in samples]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)


def read_samples(path: Path) -> list[Sample]:
    """Read what `write_samples` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [_SAMPLE.validate_json(line) for line in lines]
