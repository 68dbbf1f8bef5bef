"""From a download to the paper's tables: a miniature ScanNet and VSI-Bench in their real formats.

    python tests/bench/real_data.py [--gpus 2] [--tables 2 4] [--keep DIR]

Writes the files, then runs what a laboratory would: `data check`, `prepare scannet`, `data check`
again, `submit` of the tables as shipped but for sizes, on GPUs that Ray only pretends to have. The
models are tiny, the numbers mean nothing. Ends with the highest code of these verbs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from threedrs_components.testing.released_files import write_data
from threedrs_components.testing.vsi_files import write_vsi
from threedrs_workflows.cli import main as workflows
from threedrs_workflows.testing.rehearsal import TABLE4, TEACHERS, arguments, environment

ENOUGH = ("--set", "scenes.spar.share=0.15")
"""Of the few records, so that a step of 16 finds so many of one kind."""


def main() -> int:
    """Write the files, and run verb after verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--tables", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--keep", type=Path, help="work here, and leave everything")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = (args.keep or Path(passing)).resolve()
        data, download = root / "data", root / "download"
        if not data.exists():
            write_data(data, train=4, teachers=TEACHERS, download=download)
            write_vsi(data)
        os.environ.update(environment(data, args.gpus))
        _run("data", "check", str(data), "--quiet")
        codes = [
            _run("prepare", "scannet", "--root", str(download), "--out", str(data)),
            _run("prepare", "scannet", "--root", str(download), "--out", str(data)),
        ]
        _run("data", "check", str(data), "--quiet")
        for table in args.tables:
            grid = TABLE4.with_name(f"table{table}.yaml")
            more = ENOUGH if table == 2 else ()
            codes.append(_run(*arguments(root / "workspace", *more, grid=grid)))
    return max(codes)


def _run(*command: str) -> int:
    print("\n$ workflows", *command, flush=True)
    began = time.monotonic()
    code = workflows(command)
    print(f"[exit code {code}, {time.monotonic() - began:.0f} s]", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
