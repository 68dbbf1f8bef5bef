"""`workflows ui` starts servers on loopback, prints where, and takes them with it when it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from threedrs_platform.errors import ConfigError, ThreedrsError
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main, ui
from threedrs_workflows.cli.local_servers import LOOPBACK, Server, free_port, serving

pytestmark = pytest.mark.whole


def test_the_dashboards_are_served_until_the_verb_is_stopped(tmp_path: Path) -> None:
    port = free_port(18365)
    command = [
        sys.executable,
        "-c",
        "import sys; from threedrs_workflows.cli import main; sys.exit(main())",
    ]
    words = ["ui", "--json", "--no-mlflow", "--port", str(port), "--workspace", str(tmp_path)]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        content = json.loads(output.readline())
        address = content["addresses"]["dashboards"]
        assert address == f"http://127.0.0.1:{port}" and content["schema"] == "workflows.ui/1"
        with urllib.request.urlopen(f"{address}/static/style.css") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    with pytest.raises(OSError), socket.create_connection((LOOPBACK, port), 1.0):
        raise AssertionError("the server outlived the verb")


def test_a_taken_port_is_replaced_by_the_next() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 50


def test_a_server_that_ends_tells_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such database')"]
    server = Server("pages", command, 1, tmp_path / "pages.log")
    with (
        pytest.raises(ThreedrsError, match="pages did not start: no such database"),
        serving([server]),
    ):
        raise AssertionError("it is served")


def test_rooms_are_a_folder_that_the_pages_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ui", "--workspace", str(tmp_path), "--rooms", str(tmp_path / "nowhere")]
    assert main(words) == 2 and "--rooms: no folder" in capsys.readouterr().err
    with find_workspace(str(tmp_path), environment={}) as workspace:
        server = ui.dashboards_server(workspace, 1, rooms=tmp_path)
    assert server.command[-2:] == ["--rooms", str(tmp_path)]


def test_missing_packages_are_named_with_their_cure() -> None:
    with pytest.raises(ConfigError, match=r"needs no_such_package.*-e '.\[dashboards\]'"):
        ui.require_packages(("json", "no_such_package"))


def test_no_secret_stands_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "postgresql+psycopg://me:hunter2@db/threedrs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    with find_workspace(str(tmp_path), secret, environment={}) as workspace:
        servers = [ui.dashboards_server(workspace, 1), ui.mlflow_server(workspace, 2)]
    assert not any("hunter2" in word for server in servers for word in server.command)
    assert all(secret in server.environment.values() for server in servers)


def test_mlflows_printed_address_opens_on_runs() -> None:
    (place,) = ui._as_runs("http://127.0.0.1:5000/").values()
    assert place == "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
    assert ui._as_runs("databricks") == {} == ui._as_runs("")
