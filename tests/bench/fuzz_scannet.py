"""Damaged ScanNet files by the thousand: `python tests/bench/fuzz_scannet.py --cases 10000`.

Every reader must refuse them with a DataError or read what a sound file could say; nothing else may
be raised, and no damage that shows may pass. A failure names its case: `--first CASE --cases 1`.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

from threedrs_components.testing.scannet_fuzz import fuzz

MEMORY = 8 << 30
"""What a header that lies must not ask for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    began = time.monotonic()
    counted = fuzz(given.cases, given.seed, given.first)
    for target in sorted({verdict.target for verdict in counted}):
        those = {v.outcome: n for v, n in sorted(counted.items(), key=str) if v.target == target}
        print(f"{target:12}", *(f"{outcome} {number}" for outcome, number in those.items()))
    seconds = time.monotonic() - began
    print(f"{given.cases} cases of seed {given.seed} in {seconds:.0f} s: no traceback, no lie told")


if __name__ == "__main__":
    main()
