"""`workflows report`: a run as one HTML file with its figures, for a paper's appendix."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError, Fault, StorageError, ThreedrsError
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.run_arguments import add_run_argument
from threedrs_workflows.cli.ui import require_packages
from threedrs_workflows.own_command import python

SUMMARY = "one self-contained HTML file of a run with its figures as PDF, SVG and CSV"

EXAMPLES = """\
examples:
  workflows report                         the newest run, into ./<run>-report
  workflows report ablations --out paper/appendix

The folder holds report.html (opens anywhere, needs no network), tables.tex, tables.md and figures/.
The same files are logged with the run in MLflow, under "report".
"""

PACKAGES = ("jinja2", "matplotlib", "plotly", "starlette")
IN_MLFLOW = "report"
_ERRORS = {75: StorageError}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: ./<run>-report")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow alone")


def run(args: argparse.Namespace) -> int:
    """Write the files and log them."""
    require_packages(PACKAGES)
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        chosen = Results(workspace.database).find_run(args.run)
        folder = args.out or Path(f"{chosen.run_id}-report")
        files = write_report(workspace, chosen.run_id, folder)
        missed = "left alone" if args.no_mlflow else _track(workspace, chosen, folder)
    tracked = f"not logged to MLflow: {missed}" if missed else f"logged to MLflow as {IN_MLFLOW}/"
    text = f"{folder / 'report.html'} and {len(files) - 1} more files; {tracked}"
    emit(args, {"run": chosen.run_id, "files": files, "tracked": not missed}, text)
    return 0


def write_report(workspace: Workspace, run_id: str, folder: Path) -> list[str]:
    """Have the dashboards write a run's report.

    Returns: the files.

    Raises:
        ThreedrsError: what kept it from being written.
    """
    command = [*python(), "-m", "threedrs_dashboards.appendix", run_id]
    command += ["--workspace", str(workspace.root), "--out", str(folder)]
    places = {
        "THREEDRS_DATABASE_URL": workspace.database_url,
        "THREEDRS_ARTIFACTS": workspace.artifacts_url,
    }
    done = subprocess.run(
        command, env={**os.environ, **places}, capture_output=True, text=True, check=False
    )
    if done.returncode == 2:
        raise ConfigError([Fault(done.stderr.strip())])
    if done.returncode:
        raise _ERRORS.get(done.returncode, ThreedrsError)(done.stderr.strip())
    files: list[str] = json.loads(done.stdout)["files"]
    return files


def _track(workspace: Workspace, run: RunSummary, folder: Path) -> str:
    """Log the files with the run; says why not where that fails."""
    from threedrs_platform.tracking.delivery import attach_folder  # brings MLflow
    from threedrs_workflows.tracking.tracker import target_of

    if not workspace.tracks:
        return "tracking is off"
    return attach_folder(target_of(workspace, os.environ), run, folder, IN_MLFLOW)
