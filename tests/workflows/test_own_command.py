"""What we start reads none of the files that lie in the folder it is started in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threedrs_platform.compute.ray_start import without_folders
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.ui import dashboards_server, mlflow_server
from threedrs_workflows.own_command import own_command
from threedrs_workflows.tracking import tracker


def test_a_foreign_module_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    for name in ("yaml", "click", "argparse"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    done = subprocess.run(
        own_command("--help"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "submit" in done.stdout


def test_servers_and_tracker_are_started_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []
    note: dict[str, Any] = {"Popen": lambda command, **_: commands.append(command)}
    monkeypatch.setattr(tracker, "subprocess", SimpleNamespace(**{**vars(subprocess), **note}))
    with find_workspace(str(tmp_path), environment={}) as workspace:
        tracker.start_tracker(workspace, "run-1", {})
        pages = mlflow_server(workspace, 5000)
        commands += [dashboards_server(workspace, 8000).command, pages.command]
    assert pages.environment["PYTHONSAFEPATH"] == "1"
    assert len(commands) == 3 and all(command[1] == "-P" for command in commands)


def test_workers_of_ray_are_sent_no_folder() -> None:
    """Ray would add the current folder, and that of the program, in front of all others."""
    ray = pytest.importorskip("ray")
    config = without_folders(ray)
    config._py_driver_sys_path.extend(["/somewhere"])
    assert config._py_driver_sys_path == []
