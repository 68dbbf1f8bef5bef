"""When a lost process counts as killed for want of memory."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from threedrs_platform.memory import MemoryMarks, memory_killed, memory_marks

NONE = MemoryMarks()


@pytest.mark.parametrize(
    ("before", "after", "signalled", "is_memory"),
    [
        (MemoryMarks(of_group=1), MemoryMarks(of_group=2), signal.SIGKILL, True),
        (MemoryMarks(of_machine=0), MemoryMarks(of_machine=3), None, True),
        (MemoryMarks(1, 7), MemoryMarks(1, 7), signal.SIGKILL, False),
        (MemoryMarks(1, 7), MemoryMarks(1, 8), signal.SIGSEGV, False),
        (NONE, MemoryMarks(1, 7), signal.SIGKILL, False),
        (NONE, NONE, None, False),
    ],
)
def test_a_kill_counts_if_the_kernel_has_counted_one_since(
    before: MemoryMarks, after: MemoryMarks, signalled: int | None, is_memory: bool
) -> None:
    assert bool(memory_killed(before, after, signalled)) == is_memory


def test_the_counters_are_those_of_our_control_group_and_of_the_machine(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "12:cpu:/\n0::/pods/one\n",
        "sys/fs/cgroup/pods/one/memory.events": "low 0\noom 3\noom_kill 2\n",
        "proc/vmstat": "nr_free_pages 5\noom_kill 9\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_marks(tmp_path) == MemoryMarks(2, 9)
    assert not memory_marks(tmp_path / "elsewhere").are_kept
