"""`python -m threedrs_dashboards`: serve the pages of a workspace on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import uvicorn

from threedrs_dashboards.app import create_app
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.workspace import find_workspace

LOOPBACK = "127.0.0.1"
PORT = 8265 + 100
MLFLOW = "THREEDRS_MLFLOW_PAGES"
"""Address of MLflow's pages, where `workflows ui` knows it."""


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m threedrs_dashboards", description=__doc__)
    parser.add_argument("--workspace", metavar="DIR")
    parser.add_argument("--db", metavar="URL")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--rooms", type=Path, metavar="DIR", help="its scenes can be asked about")
    args = parser.parse_args(argv)
    try:
        address = os.environ.get(MLFLOW, "")
        app = create_app(find_workspace(args.workspace, args.db), address, args.rooms)
    except ThreedrsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    uvicorn.run(app, host=LOOPBACK, port=args.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
