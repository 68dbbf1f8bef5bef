"""Spoiled annotations and predictions of every benchmark: how many are refused, scored, or crash.

    python tests/bench/fuzz_records.py [--cases 10000] [--seed 0]

Cases go round the benchmarks; each has a seed of its own, so that a crash is made again by
`--seed N --cases 1`. Exit code 1 if anything but an error of ours was raised.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from threedrs_components.benchmarks import scoring
from threedrs_components.testing.spoiled_records import PREDICTIONS, SpoiledFiles
from threedrs_platform.errors import DataError

FIXTURES = Path(__file__).parents[1] / "components" / "benchmarks" / "fixtures"


def _no_meteor() -> None:
    """Its paraphrase table would take longer than all cases."""
    raise DataError("left out")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    args = parser.parse_args()
    warnings.simplefilter("error")
    setattr(scoring, "installed_data", _no_meteor)  # noqa: B010
    kinds, counts = sorted(PREDICTIONS), Counter[tuple[str, str]]()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        files = SpoiledFiles(FIXTURES, Path(folder))
        for seed in range(args.seed, args.seed + args.cases):
            kind = kinds[seed % len(kinds)]
            try:
                refused = files.attempt(kind, random.Random(seed))
            except Exception:
                counts[kind, "crashed"] += 1
                print(f"--seed {seed}: {kind}\n{traceback.format_exc(limit=-4)}")
            else:
                counts[kind, "refused" if refused else "scored"] += 1
    for kind in kinds:
        told = ", ".join(
            f"{counts[kind, what]} {what}" for what in ("refused", "scored", "crashed")
        )
        print(f"{kind:13} {told}")
    print(f"{args.cases} cases in {time.monotonic() - started:.0f} s")
    return 1 if any(counts[kind, "crashed"] for kind in kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
