"""A machine that vanishes without a word, as one without power does: both ends notice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_components.training import nodes
from threedrs_components.training.nodes import Address, Seat, gather

LEADER, FOLLOWER = "10.213.77.1", "10.213.77.2"
FOLLOW = f"""
import json, pathlib, sys
from threedrs_components.training import nodes
from threedrs_components.training.nodes import Address, Seat, join
nodes.SILENT_S, nodes.ASK_EVERY_S, nodes.ASKED = 1, 1, 2
port, key = json.loads(pathlib.Path(sys.argv[1]).read_text())
print(join(Seat(1, 2), lambda: Address(({LEADER!r},), port, key)).work())
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """A network of its own for a second machine, and the cable to it."""
    space, ours, theirs = (f"{name}{os.getpid()}" for name in ("n", "a", "b"))
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip")
    try:
        ip("netns", "add", space)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs the right to make networks: {error.stderr.decode()}")
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
        ip("link", "set", theirs, "netns", space)
        ip("addr", "add", f"{LEADER}/24", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", space, "addr", "add", f"{FOLLOWER}/24", "dev", theirs)
        ip("-n", space, "link", "set", theirs, "up")
        yield space, ours
    finally:
        ip("netns", "del", space)  # and the cable with it


@pytest.mark.ranks
def test_a_cut_cable_is_noticed_at_both_ends(
    cable: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nodes, "SILENT_S", 1)
    monkeypatch.setattr(nodes, "ASK_EVERY_S", 1)
    monkeypatch.setattr(nodes, "ASKED", 2)
    (space, line), lost = cable, threading.Event()
    followers: list[subprocess.Popen[str]] = []

    def publish(address: Address) -> None:
        place = tmp_path / "address"
        place.write_text(json.dumps([address.port, address.key]))
        command = ["ip", "netns", "exec", space, sys.executable, "-c", FOLLOW, str(place)]
        followers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    gather(Seat(0, 2), publish, lost.set, patience_s=120)
    assert not lost.wait(0.5)
    ip("link", "set", line, "down")
    assert lost.wait(60), "the leader still waits"
    assert followers[0].communicate(timeout=60)[0] == "False\n"
