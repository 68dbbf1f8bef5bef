"""Items over several processes: everything is done once, faults come out, nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from threedrs_platform import processes
from threedrs_platform.errors import SceneError, StepFailed
from threedrs_platform.memory import MemoryMarks
from threedrs_platform.processes import VISIBLE_GPUS, spread


@dataclass(frozen=True)
class Noting:
    """Notes which process did what, where each began and which GPU it saw."""

    folder: Path

    def __call__(self) -> Callable[[int], tuple[int, str | None]]:
        (self.folder / str(os.getpid())).touch()
        return self.work

    def work(self, item: int) -> tuple[int, str | None]:
        if item == 13:
            raise SceneError("attic", "is haunted", "ghost.png")
        if item == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        if item < 4:
            time.sleep(0.3)
        return item * item, os.environ.get(VISIBLE_GPUS)


@pytest.mark.parametrize(("visible", "seen"), [("4,7", {"4", "7"}), ("", {"0", "1"})])
def test_two_processes_do_what_one_does(
    visible: str, seen: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE_GPUS, visible)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = dict(spread(Noting(tmp_path / "one"), range(10), 1))
    shared = dict(spread(Noting(tmp_path / "two"), range(10), 2, gpus=True))
    assert {each: value for each, (value, _) in shared.items()} == {
        each: value for each, (value, _) in alone.items()
    }
    assert {gpu for _, gpu in shared.values()} == seen
    assert [path.name for path in (tmp_path / "one").iterdir()] == [str(os.getpid())]
    assert len([*(tmp_path / "two").iterdir()]) == 2


def test_faults_come_out_as_they_were_raised(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="attic: is haunted"):
        dict(spread(Noting(tmp_path), [5, 13, 6], 2))


@pytest.mark.parametrize(
    ("kills", "failure"), [((None, None), "oom"), ((2, 3), "oom"), ((2, 2), "infra")]
)
def test_a_killed_process_met_the_end_of_memory_if_the_kernel_says_so_or_counts_nothing(
    kills: tuple[int, int], failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iter(MemoryMarks(of_group=each) for each in kills)
    monkeypatch.setattr(processes, "memory_marks", lambda: next(counted))
    with pytest.raises(StepFailed, match="killed from outside") as failed:
        dict(spread(Noting(tmp_path), [5, 99, 6], 2))
    assert failed.value.failure == failure


def test_who_stops_early_leaves_no_process(tmp_path: Path) -> None:
    with closing(spread(Noting(tmp_path), range(100), 2)) as results:
        next(results)
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_nothing_to_do_makes_nothing(tmp_path: Path) -> None:
    assert [*spread(Noting(tmp_path), [], 4)] == []
    assert [*tmp_path.iterdir()] == []


ORPHANAGE = """
import os, sys, time
from pathlib import Path
from threedrs_platform.processes import spread

class Slow:
    def __call__(self):
        Path(sys.argv[1], str(os.getpid())).touch()
        return time.sleep

if __name__ == "__main__":
    list(spread(Slow(), [600, 600], 2))
"""


def test_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script, notes = tmp_path / "orphanage.py", tmp_path / "notes"
    script.write_text(ORPHANAGE)
    notes.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(notes)])
    try:
        _wait_until(lambda: len([*notes.iterdir()]) == 2)
    finally:
        parent.kill()
        parent.wait()
    children = [Path("/proc", path.name) for path in notes.iterdir()]
    _wait_until(lambda: not any(_is_alive(child) for child in children))


def _is_alive(process: Path) -> bool:
    """Where nobody collects it, what is left of an ended process is a zombie."""
    try:
        return ") Z " not in (process / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(holds: Callable[[], bool], patience_s: float = 30.0) -> None:
    until = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)
