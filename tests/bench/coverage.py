"""How often the interval over seeds and scenes holds the truth, and the test raises false alarms.

Two-way layouts are drawn with a known mean. `share` is how much of the variance of that mean comes
from seeds, the rest from scenes; `rest` is what every pair of seed and scene adds on its own.

    python -m tests.bench.coverage [--runs 4000]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from threedrs_components.metrics.crossed import compare_crossed

SHARES = (0.0, 0.2, 0.5, 0.8, 1.0)
SEEDS = (2, 3, 4, 6)
SCENES = 60


def main() -> None:
    """Print one line per number of seeds and size of the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="layouts per number; default: 4000")
    runs = parser.parse_args().runs
    generator = np.random.default_rng(0)
    print("| seeds | rest | " + " | ".join(f"share {share}" for share in SHARES) + " |")
    print("|---|---|" + "---|" * len(SHARES) + "  (covered % / false alarms %)")
    for seeds in SEEDS:
        for rest in (0.05, 0.3, 1.0):
            cells = [_cell(generator, seeds, share, rest, runs) for share in SHARES]
            print(f"| {seeds} | {rest} | " + " | ".join(cells) + " |", flush=True)


def _cell(generator: np.random.Generator, seeds: int, share: float, rest: float, runs: int) -> str:
    covered = alarms = 0
    for _ in range(runs):
        gaps = (
            generator.normal(0, math.sqrt(share * seeds), (seeds, 1))
            + generator.normal(0, math.sqrt((1 - share) * SCENES), (1, SCENES))
            + generator.normal(0, math.sqrt(rest * SCENES), (seeds, SCENES))
        )
        found = compare_crossed(gaps)
        assert found.interval is not None
        covered += found.interval[0] <= 0 <= found.interval[1]
        alarms += found.p is not None and found.p < 0.05
    alarm = f"{100 * alarms / runs:.1f}" if seeds > 2 else "no test"
    return f"{100 * covered / runs:.1f} / {alarm}"


if __name__ == "__main__":
    main()
