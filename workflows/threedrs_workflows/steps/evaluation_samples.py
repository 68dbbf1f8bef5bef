"""What a cell is evaluated on: a split of its own, or scenes that training has held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.held_out import held_out_samples
from threedrs_platform.contracts import Benchmark
from threedrs_platform.records import Sample


def evaluated_samples(
    benchmarks: Mapping[str, Benchmark], config: BenchmarksConfig, held_out: frozenset[str]
) -> Mapping[str, Sequence[Sample]]:
    """Samples to predict and score, by benchmark."""
    if held_out:
        return held_out_samples(benchmarks, held_out)
    return {name: benchmarks[name].samples(config.split_of(name)) for name in config.names}
