"""Want of memory: errors that tell of it, and the kernel's count of processes that it killed."""

from __future__ import annotations

import contextlib
import errno
import signal
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class MemoryMarks:
    """Counters of the memory killer, at one moment on one machine; None where there are none."""

    of_group: int | None = None
    """Kills in the control group of this process, which is what a container is."""
    of_machine: int | None = None

    @property
    def are_kept(self) -> bool:
        """Whether this machine counts at all."""
        return (self.of_group, self.of_machine) != (None, None)


def memory_marks(root: Path = ROOT) -> MemoryMarks:
    """The counters as they are now."""
    events = _counters(_own_group(root) / "memory.events")
    return MemoryMarks(events.get("oom_kill"), _counters(root / "proc/vmstat").get("oom_kill"))


def memory_killed(
    before: MemoryMarks, after: MemoryMarks, signalled: int | None = signal.SIGKILL
) -> str:
    """Why a lost process is taken for one that was killed for want of memory; empty if it is not.

    Args:
        before: when it began.
        after: when it was missed.
        signalled: the signal that ended it, None where nobody knows.
    """
    if signalled not in (None, signal.SIGKILL):
        return ""
    pairs = (before.of_group, after.of_group), (before.of_machine, after.of_machine)
    if any(one is not None and other is not None and other > one for one, other in pairs):
        return "the kernel has killed for want of memory meanwhile"
    return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of host or device ran out; torch's error is known by name, not imported."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA out of memory" in text or "can't allocate memory" in text
    )


def _own_group(root: Path) -> Path:
    """The folder of this process's control group, version 2."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return root / "sys/fs/cgroup" / line[3:].lstrip("/")
    return root / "sys/fs/cgroup"


def _counters(file: Path) -> dict[str, int]:
    """Lines of `name number`; empty where there is no such file."""
    try:
        words = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {each[0]: int(each[1]) for each in words if len(each) == 2 and each[1].isdigit()}
