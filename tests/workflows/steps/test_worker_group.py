"""What the training step asks of Ray, and two cells of a shipped grid on the GPUs of one node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from threedrs_components.testing.released_files import write_data
from threedrs_workflows.cli import main
from threedrs_workflows.steps.ray_training import GroupResources
from threedrs_workflows.testing.rehearsal import arguments, attempts, environment


def test_every_worker_has_its_gpu_and_its_part_of_the_rest() -> None:
    group = GroupResources(cpus=8, gpus=8, memory_gib=64)
    assert group.of_each(8, cpus_there=64) == {"CPU": 1, "GPU": 1, "memory": 8 * 2**30}


def test_workers_that_were_given_no_gpu_ask_for_none() -> None:
    assert GroupResources(cpus=4).of_each(2, cpus_there=64) == {"CPU": 2}


def test_workers_share_the_cpus_of_a_machine_that_has_too_few() -> None:
    part = GroupResources(cpus=3, gpus=3).of_each(3, cpus_there=2)
    assert part["GPU"] == 1 and 1.99 < 3 * part["CPU"] <= 2


@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("ray_cluster")
def test_two_cells_of_table_4_train_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ZeRO-3, bfloat16, checkpointing and accumulation as the preset has them."""
    write_data(tmp_path / "data", train=4)
    for name, value in environment(tmp_path / "data", gpus=2).items():
        monkeypatch.setenv(name, value)
    where = "--where=teacher == 'none' or teacher == 'vggt'"
    capsys.readouterr()  # what libraries say of the files that were written
    told = arguments(tmp_path / "workspace", where, "--json")
    assert main(told) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)["state"] == "succeeded"
    made = attempts(tmp_path / "workspace")
    assert {each.state for each in made} == {"committed"}
    assert [sum(a.kind == kind for a in made) for kind in ("predict", "probe", "score")] == [
        2,
        2,
        2,
    ]
    one, other = (each for each in made if each.kind == "finetune")
    assert other.started_at >= one.started_at + one.seconds
    assert one.gpu_s == pytest.approx(2 * one.seconds)
