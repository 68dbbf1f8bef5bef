"""Processes that srun or torchrun started as one worker: which is which, and how they meet."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from threedrs_components.training import nodes
from threedrs_components.training.nodes import Seat, current_group
from threedrs_platform.errors import ConfigError
from threedrs_workflows.engine.together import Party, follow, led, party_of, tasks_of_nodes

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "a/b",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}
SRUN = {
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)",
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_RESTART_COUNT": "3",
}


def test_torchrun_and_srun_say_which_process_this_is() -> None:
    assert party_of(TORCHRUN) == Party(Seat(3, 4, 1, 2), "torchrun-a_b-node0-29500-0")
    assert party_of(SRUN) == Party(Seat(2, 4, 0, 1), "srun-12.0-3")
    assert party_of({**SRUN, **TORCHRUN}).seat.number == 3, "torchrun may run under srun"


@pytest.mark.parametrize(
    "environment",
    [{}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, {**SRUN, "SLURM_PROCID": "x"}],
)
def test_who_was_started_alone_is_no_group(environment: dict[str, str]) -> None:
    """The script of a job of two nodes runs on one of them, outside of any srun."""
    with pytest.raises(ConfigError, match="--group"):
        party_of(environment)


def test_tasks_of_nodes_are_read_as_slurm_writes_them() -> None:
    assert tasks_of_nodes("2(x3),1") == [2, 2, 2, 1]


def test_they_meet_over_a_file_that_only_this_user_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "RETRY_S", 0.02)
    monkeypatch.setattr(nodes, "LOOK_S", 0.02)
    monkeypatch.setattr(nodes, "GONE_S", 0.1)  # the process of this follower outlives it
    first, second = (Party(Seat(number, 2), "job") for number in (0, 1))
    file = second.place(tmp_path)
    file.parent.mkdir()
    file.write_text("left by a job that was killed")
    ended: list[bool] = []
    stop = threading.Event()
    other = threading.Thread(target=lambda: ended.append(follow(second, tmp_path, stop)))
    other.start()
    with led(first, tmp_path, lambda: None):
        group = current_group()
        assert group is not None and group.size == 2
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other.join(20)
    assert ended == [True] and current_group() is None and not file.exists()
