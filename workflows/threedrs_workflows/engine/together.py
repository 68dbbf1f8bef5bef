"""Processes that srun or torchrun started as one worker: which this one is, and how they meet."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from threedrs_components.training.nodes import Address, Follower, Seat, gather, join, leading
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import storage_errors

FLAG = "--group"


@dataclass(frozen=True)
class Party:
    """All processes of one worker, as one of them sees them."""

    seat: Seat
    name: str
    """The same for all of them, and for no others."""

    def place(self, workspace: Path) -> Path:
        """Where the first one says how it is found; only this user may read it."""
        return workspace / "together" / f"{self.name}.json"


def party_of(environment: Mapping[str, str]) -> Party:
    """What torchrun, else srun, says to the processes that it starts.

    Raises:
        ConfigError: neither has started this one.
    """
    try:
        if "TORCHELASTIC_RUN_ID" in environment:
            return _by_torchrun(environment)
        if "SLURM_STEP_NUM_TASKS" in environment:
            return _by_srun(environment)
    except (KeyError, ValueError) as error:
        message = f"the environment of srun or torchrun is not understood: {error!r}"
        raise ConfigError([Fault(message, FLAG)]) from None
    message = "is for processes that were started together, by srun or torchrun"
    raise ConfigError([Fault(message, FLAG)])


def _by_torchrun(said: Mapping[str, str]) -> Party:
    where = "-".join(said[name] for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
    name = f"torchrun-{where}-{said.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    seat = Seat(
        int(said["RANK"]),
        int(said["WORLD_SIZE"]),
        int(said["LOCAL_RANK"]),
        int(said["LOCAL_WORLD_SIZE"]),
    )
    return Party(seat, _as_file_name(name))


def _by_srun(said: Mapping[str, str]) -> Party:
    job = f"{said['SLURM_JOB_ID']}.{said.get('SLURM_STEP_ID', '0')}"
    tasks = tasks_of_nodes(said.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    seat = Seat(
        int(said["SLURM_PROCID"]),
        int(said["SLURM_STEP_NUM_TASKS"]),
        int(said.get("SLURM_LOCALID", "0")),
        tasks[int(said.get("SLURM_NODEID", "0")) % len(tasks)],
    )
    return Party(seat, _as_file_name(f"srun-{job}-{said.get('SLURM_RESTART_COUNT', '0')}"))


def tasks_of_nodes(text: str) -> list[int]:
    """Tasks of each node, as Slurm writes them: `2(x3),1` is 2, 2, 2, 1."""
    found = []
    for part in text.split(","):
        count, _, times = part.partition("(x")
        found += [int(count)] * int(times.rstrip(")") or 1)
    return found


def _as_file_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text)


@contextmanager
def led(party: Party, workspace: Path, on_loss: Callable[[], None]) -> Iterator[None]:
    """Trainings are those of the whole party while the body runs.

    Args:
        on_loss: called when one of the others is gone or wants to stop.

    Raises:
        StorageError: not all others came.
    """
    file = party.place(workspace)

    def publish(address: Address) -> None:
        new = file.with_suffix(".new")
        with storage_errors(f"write {file}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as content:
                json.dump(asdict(address), content)
            new.replace(file)

    try:
        with leading(gather(party.seat, publish, on_loss)):
            yield
    finally:
        file.unlink(missing_ok=True)


def follow(party: Party, workspace: Path, wants_to_stop: threading.Event) -> bool:
    """Train along until the first process has done its part; False if it is gone without a word.

    Raises:
        StorageError: it was not found.
    """
    file = party.place(workspace)

    def find() -> Address | None:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            return Address(tuple(told["hosts"]), int(told["port"]), str(told["key"]))
        except (OSError, ValueError, KeyError):
            return None

    follower: Follower = join(party.seat, find)
    follower.wants_to_stop = wants_to_stop
    os.dup(follower.connection.fileno())  # open until this process is gone: the leader waits for it
    return follower.work()
