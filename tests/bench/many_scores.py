"""What `results`, `compare` and the table page cost over 1,000 cells and 1,000,000 scores.

    python tests/bench/many_scores.py [--cells N] [--samples N] [--keep FOLDER] [--again N]

Every number is CPU-seconds of a fresh process, the least of some tries, beside those of an empty
one and of one that imports the libraries alone; the page is asked for twice in its process. The
store is that of `dashboard_pages.py`. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dashboard_pages import fill

from threedrs_platform.database.connection import open_database
from threedrs_platform.database.urls import sqlite_url

VERB = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"
LIBRARIES = "import numpy, pydantic, sqlalchemy"
PAGE = """
import sys, time
from starlette.testclient import TestClient
from threedrs_dashboards.app import create_app
from threedrs_platform.workspace import find_workspace
app = create_app(find_workspace(sys.argv[1], environment={}))
client = TestClient(app, "http://127.0.0.1")
for _ in range(3):
    began = time.process_time()
    assert client.get("/table?run=bench-1").status_code == 200
    print(f"{time.process_time() - began:.2f}", end=" ")
app.state.store.close()
"""
COMPARED = ("none w0 l0", "mae w0 l0")


def cost(code: str, words: Sequence[str], again: int) -> tuple[float, str]:
    """CPU-seconds of a process that runs some code, and what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found: list[tuple[float, str]] = []
    for _ in range(again):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *words],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((spent, done.stdout))
    return min(found)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=1000, help="cells times seeds")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="a folder; a filled one is used as it is")
    parser.add_argument("--again", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        if not (folder / "results.db").exists():
            folder.mkdir(exist_ok=True)
            database = open_database(sqlite_url(folder / "results.db"))
            fill(database, args.cells, args.samples)
            database.close()
        here = ("--workspace", str(folder))
        for name, code, words in (
            ("python -c pass", "pass", ()),
            (LIBRARIES, LIBRARIES, ()),
            ("submit --help", VERB, ("submit", "--help")),
            ("results", VERB, ("results", *here)),
            ("compare", VERB, ("compare", *COMPARED, *here)),
            ("table page, three times", PAGE, (str(folder),)),
        ):
            spent, told = cost(code, words, args.again)
            note = f" (CPU-s of each: {told})" if code is PAGE else ""
            print(f"{name:45} {spent:6.2f} CPU-s{note}", flush=True)


if __name__ == "__main__":
    main()
