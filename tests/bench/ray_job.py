"""A grid left to a Ray cluster of one head on this machine, whose client is gone at once.

    python tests/bench/ray_job.py

Starts a head in a process group of its own, submits a small grid from a folder and with a Python
path that the head does not know, and follows it with `workflows wait`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = os.pathsep.join(str(ROOT / room) for room in ("platform", "components", "workflows"))
MAIN = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"
PATIENCE_S = 300.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def workflows(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A verb, in an environment with the source tree that the head has not."""
    environment = {**os.environ, "PYTHONPATH": ROOMS, "THREEDRS_TRACKING": "off"}
    command = [sys.executable, "-c", MAIN, "--json", "--workspace", str(folder / "shared"), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def main() -> int:
    """Print what each verb said; 1 unless the run succeeded."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        folder, port = Path(name), free_port()
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        head = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
             f"--port={port}", "--num-cpus=2", "--include-dashboard=true",
             f"--dashboard-port={free_port()}", f"--temp-dir={folder / 'ray'}",
             "--object-store-memory=100000000", "--disable-usage-stats"],
            cwd="/",
            env=environment,
            stdout=(folder / "head").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
            grid = str(ROOT / "ablations.yaml")
            for _ in range(20):
                began = time.monotonic()
                told = workflows(folder, "--ray", address, "submit", grid, "--smoke", "--no-wait")
                if told.returncode == 0 or head.poll() is not None:
                    break
                time.sleep(3)
            print(f"submit: exit {told.returncode} after {time.monotonic() - began:.0f} s")
            print(told.stdout[-800:], told.stderr[-800:])
            if told.returncode:
                print((folder / "head").read_text()[-2000:])
                return 1
            again = workflows(folder, "--ray", address, "resume", json.loads(told.stdout)["run"])
            print(f"again: exit {again.returncode} {again.stdout[-300:]} {again.stderr[-300:]}")
            waited = workflows(folder, "wait", "--timeout", str(PATIENCE_S))
            print(f"wait: exit {waited.returncode} {waited.stdout[-300:]}")
            return waited.returncode
        finally:
            os.killpg(head.pid, signal.SIGTERM)
            head.wait(60)


if __name__ == "__main__":
    sys.exit(main())
