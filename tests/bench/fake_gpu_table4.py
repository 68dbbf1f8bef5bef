"""Table 4 as shipped, on tiny files and on GPUs that Ray only pretends to have.

    python tests/bench/fake_gpu_table4.py [--gpus 8] [--where CELLS] [--until KIND] [--keep DIR]

Every step runs, with ZeRO-3, bfloat16, gradient checkpointing, accumulation and as many ranks as
there are GPUs; the numbers mean nothing. Ends with the code of `workflows submit`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from threedrs_components.testing.released_files import write_data
from threedrs_workflows.cli import main as workflows
from threedrs_workflows.testing.rehearsal import TEACHERS, arguments, attempts, environment


def main() -> int:
    """Write the files, run the grid, print its attempts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--where", help="only some cells")
    parser.add_argument("--until", help="only up to steps of this kind")
    parser.add_argument("--keep", type=Path, help="work here, and leave everything")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = (args.keep or Path(passing)).resolve()
        if not (root / "data").exists():
            write_data(root / "data", train=4, teachers=TEACHERS)
        os.environ.update(environment(root / "data", args.gpus))
        more = [
            f"--{name}={getattr(args, name)}" for name in ("where", "until") if vars(args)[name]
        ]
        code = workflows(arguments(root / "workspace", *more))
        first = min(each.started_at for each in attempts(root / "workspace"))
        print(f"{'began':>7} {'s':>7} {'GPU s':>7}  state      step")
        for each in attempts(root / "workspace"):
            began = each.started_at - first
            print(
                f"{began:7.0f} {each.seconds:7.1f} {each.gpu_s:7.1f}  {each.state:<9}  "
                f"{each.kind} {each.label} {each.message}"
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
