"""`workflows ui`: the dashboards and MLflow in a browser, on this machine only."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.tracking.places import mend_links, mend_places
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.local_servers import Server, free_port, serving
from threedrs_workflows.cli.output import print_json
from threedrs_workflows.own_command import python
from threedrs_workflows.tracking.tracker import QUIET, target_of

SUMMARY = (
    "browse results: starts the dashboards and MLflow on this machine and prints both addresses"
)

EXAMPLES = """\
examples:
  workflows ui                          until Ctrl-C
  workflows ui --port 9000 --no-mlflow
  workflows ui --rooms /data/rooms      trained students can be asked about scenes there, too
  ssh -L 8365:127.0.0.1:8365 box        then `workflows ui` on the box, and the address here

Both servers listen on 127.0.0.1 only. Pages read the results; nothing can be changed there. On page
Ask a trained student answers questions about a scene.
"""

PORT, MLFLOW_PORT = 8365, 5000
PACKAGES = ("jinja2", "plotly", "starlette", "uvicorn")
WATCH_S = 0.5
AS_RUNS = "?workflowType=machine_learning"
MLFLOW_PAGES = "THREEDRS_MLFLOW_PAGES"
"""Tells the dashboards where MLflow's pages are."""
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""MLflow would start six more processes for jobs that nobody here gives it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument(
        "--port", type=int, metavar="N", default=PORT, help=f"of the dashboards; default: {PORT}"
    )
    parser.add_argument(
        "--mlflow-port", type=int, metavar="N", default=MLFLOW_PORT, help=f"default: {MLFLOW_PORT}"
    )
    parser.add_argument(
        "--rooms",
        type=Path,
        metavar="DIR",
        help="scene folders below it can be asked about, beside the scenes of runs",
    )
    parser.add_argument("--no-mlflow", action="store_true", help="the dashboards alone")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; a port that is taken is replaced by the next free one."""
    require_packages(PACKAGES)
    if args.rooms is not None and not args.rooms.is_dir():
        raise ConfigError([Fault(f"no folder {str(args.rooms)!r}", "--rooms")])
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    looked_for = find_workspace(args.workspace, args.db, looks=True)
    if not (looked_for.database_url or looked_for.root.is_dir()):
        raise ConfigError([Fault(f"{looked_for.absence}; `workflows submit` makes one")])
    with find_workspace(args.workspace, args.db) as workspace:
        remote = os.environ.get("MLFLOW_TRACKING_URI", "")
        is_served = remote.startswith(("http://", "https://", "databricks"))
        tracked = (
            []
            if args.no_mlflow or is_served
            else [mlflow_server(workspace, free_port(args.mlflow_port))]
        )
        pages = tracked[0].address if tracked else "" if args.no_mlflow else without_secrets(remote)
        servers = [dashboards_server(workspace, free_port(args.port), pages, args.rooms), *tracked]
        if tracked:
            mend_links(target_of(workspace, os.environ), servers[0].address)
        addresses = {server.name: server.address for server in servers}
        if is_served and not args.no_mlflow:
            addresses["mlflow"] = without_secrets(remote)
        with serving(servers) as processes:
            if args.json:
                print_json("ui", {"addresses": addresses, "workspace": str(workspace.root)})
            else:
                shown = {**addresses, **_as_runs(addresses.get("mlflow", ""))}
                print("\n".join(f"{name:12}{place}" for name, place in shown.items()))
                print("Ctrl-C stops them")
            sys.stdout.flush()
            return _watch(servers, processes)


def _as_runs(mlflow: str) -> dict[str, str]:
    """Where MLflow's own pages show experiments as runs; they open for language model traces."""
    served = mlflow.startswith(("http://", "https://"))
    return {"mlflow": f"{mlflow.rstrip('/')}/#/experiments{AS_RUNS}"} if served else {}


def require_packages(names: Sequence[str]) -> None:
    """Refuse to go on without packages of the extra `dashboards`.

    Raises:
        ConfigError: names what is missing and how to install it.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        cure = "pip install -e '.[dashboards]'"
        raise ConfigError([Fault(f"this needs {', '.join(missing)}: {cure}")])


def dashboards_server(
    workspace: Workspace, port: int, mlflow: str = "", rooms: Path | None = None
) -> Server:
    """The pages over a workspace; addresses go through the environment.

    Args:
        workspace: whose results are shown.
        port: to listen on.
        mlflow: address of MLflow's pages, to link to.
        rooms: folder whose scene folders can be asked about.
    """
    asked = [] if rooms is None else ["--rooms", str(rooms.resolve())]
    return Server(
        "dashboards",
        [*python(), "-m", "threedrs_dashboards", "--workspace", str(workspace.root),
         "--port", str(port), *asked],
        port,
        workspace.root / "logs" / "ui.log",
        {"THREEDRS_DATABASE_URL": workspace.database_url,
         "THREEDRS_ARTIFACTS": workspace.artifacts_url,
         MLFLOW_PAGES: mlflow},
    )  # fmt: skip


def mlflow_server(workspace: Workspace, port: int) -> Server:
    """MLflow's own pages over what this workspace tracks."""
    target = target_of(workspace, os.environ)
    mend_places(target)
    # What MLflow starts in turn is told by the environment what we tell it by a flag.
    safe = {"PYTHONSAFEPATH": "1"}
    settings = {"MLFLOW_BACKEND_STORE_URI": target.uri, **NO_JOBS, **QUIET, **safe}
    if target.artifacts is not None:
        settings["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = target.artifacts.as_uri()
    command = [*python(), "-m", "mlflow", "ui", "--host", "127.0.0.1", "--workers", "1"]
    log = workspace.root / "logs" / "mlflow-ui.log"
    return Server("mlflow", [*command, "--port", str(port)], port, log, settings)


def _watch(servers: Sequence[Server], processes: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for a Ctrl-C, or for a server to end by itself, which is an error."""
    try:
        while True:
            for server, process in zip(servers, processes, strict=True):
                if process.poll() is not None:
                    print(f"{server.name} ended; see {server.log}", file=sys.stderr)
                    return 1
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A signal to end stops as Ctrl-C does: the servers first."""
    raise KeyboardInterrupt
