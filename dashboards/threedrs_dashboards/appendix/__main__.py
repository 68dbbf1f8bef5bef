"""`python -m threedrs_dashboards.appendix`: write a run's report; prints the files as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from threedrs_dashboards.appendix.document import make_appendix, write_appendix
from threedrs_dashboards.store import Store
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.workspace import find_workspace


def main(argv: list[str] | None = None) -> int:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="python -m threedrs_dashboards.appendix")
    parser.add_argument("run", nargs="?")
    parser.add_argument("--workspace", metavar="DIR")
    parser.add_argument("--db", metavar="URL")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    args = parser.parse_args(argv)
    store = Store(find_workspace(args.workspace, args.db))
    try:
        appendix = make_appendix(store, args.run)
        files = write_appendix(appendix, args.out)
    except ThreedrsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        store.close()
    run_id = appendix.report.table.results.run.run_id
    print(json.dumps({"run": run_id, "files": [str(file) for file in files]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
