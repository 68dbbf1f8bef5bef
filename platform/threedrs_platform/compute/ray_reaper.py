"""Ends what is left of a local Ray whose owner was killed: its agents would stay for a minute.

    python ray_reaper.py SESSION_FOLDER

Waits until its standard input ends, which the kernel sees to when the owner dies, and then kills
every process of this user that has a file in the session's folder open. Ray's agents write over
their names and environments, but not over that. Elsewhere than on Linux nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Container
from pathlib import Path

GRACE_S = 1.0


def start_reaper(session: str) -> subprocess.Popen[bytes]:
    """Start the process that outlives this one; it does its work when its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, session],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # signals of the terminal are for the owner
    )


def processes_in(folder: Path, spare: Container[int] = ()) -> list[int]:
    """Processes that have a file below a folder open."""
    inside, found = f"{folder.resolve()}/", []
    for files in Path("/proc").glob("[0-9]*/fd"):
        pid = int(files.parent.name)
        with contextlib.suppress(OSError):  # of somebody else, or gone meanwhile
            opened = (os.readlink(each) for each in files.iterdir())
            if pid not in spare and any(name.startswith(inside) for name in opened):
                found.append(pid)
    return found


def main() -> None:
    """Entry of the process."""
    spare = os.getpid(), os.getppid()  # the owner may only have closed its Ray
    sys.stdin.buffer.read()
    time.sleep(GRACE_S)
    for pid in processes_in(Path(sys.argv[1]), spare):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
