"""Each student of the presets from posed images to an export, executed as its preset executes it.

ZeRO-3, bfloat16, gradient checkpointing, accumulation, released object features, several ranks,
float16 at evaluation: only sizes are small, and the files tiny, random, and in their real formats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.students.export import write_pretrained
from threedrs_components.students.registry import open_student
from threedrs_components.testing.released_files import write_data
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell

STEPS = 3
SMALL: dict[str, Any] = {
    "teacher": "vggt",
    "scenes.num_frames": 2,
    "prepare.num_frames": 2,
    "training.steps": STEPS,
    "training.log_every": 1,
    "training.checkpoint_every": 1,
    "probe.folds": 2,
    "benchmarks.max_new_tokens": 2,
}
GPUS = {"extract": 1, "finetune": 2, "probe": 1, "predict": 1}
"""As the paper's grids give them; they are only pretended."""
OF_QWEN = {"prepare.image_size": 392, "prepare.covered": None, "prepare.patch_grid": None}


class Killed(Exception):
    """Stands for whatever ends a step in its middle."""


class KilledAt(Recorder):
    """Lets a training get as far as a step."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def progress(self, done: int, total: int, note: str) -> None:
        if done == self.last:
            raise Killed(note)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_data(data)
    return data


def steps_of(preset: str, data: Path, changes: dict[str, Any]) -> dict[str, StepSpec]:
    places = f"env: {{DATA: {data}, GPUS: '2'}}"
    text = f"version: 1\nname: x\n{places}\nbase: {{preset: {preset}}}\n"
    tree = expand(load_document(text)).base.model_dump(mode="json")
    experiment = Experiment.model_validate(put_in(tree, (), {**SMALL, **changes}))
    training, student = experiment.training, experiment.student_config()
    assert (training.strategy, training.dtype, training.workers) == (
        "deepspeed_zero3",
        "bfloat16",
        2,
    )
    assert student.gradient_checkpointing and training.rounds(2) == 8
    assert (student.object_membership, experiment.evaluation.dtype) == ("released", "float16")
    return cell_steps(experiment, 1, FileDigests())


class KilledOnce(OneCell):
    """A cell whose training is killed before its last step, and tried again."""

    def attempt(self, step: StepSpec, recorder: Recorder) -> Path:
        if step.kind == "finetune":
            with pytest.raises(Killed):
                super().attempt(step, KilledAt(STEPS - 1))
        return super().attempt(step, recorder)


@pytest.mark.ranks
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("preset", "student", "changes"),
    [
        ("as_released", "llava", {}),
        pytest.param("internvl", "internvl", {}, marks=pytest.mark.slow),
        pytest.param("internvl", "internvl3_5", {}, marks=pytest.mark.slow),
        pytest.param("clean", "onevision", {}, marks=pytest.mark.slow),
        pytest.param("as_released", "qwen2_vl", OF_QWEN, marks=pytest.mark.slow),
        pytest.param("qwen3_vl", "qwen3_vl", {}, marks=pytest.mark.slow),
    ],
)
def test_a_student_goes_all_the_way_as_its_preset_says(
    preset: str,
    student: str,
    changes: dict[str, Any],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FAKE_GPUS, "2")
    steps = steps_of(preset, data, {"student": student, **changes})
    cell = KilledOnce(tmp_path, GPUS)
    for step in steps.values():
        cell.run(step)
    assert {"scanrefer/acc@0.25", "multi3drefer/f1@0.25", "scan2cap/cider@0.5"} <= cell.measured
    assert {"scanqa/em@1", "sqa3d/em", "probe/score", "training/loss"} <= cell.measured
    trained = cell.run(steps["finetune"])
    weights = load_file(trained / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    told = cell.recorders["finetune"]
    assert {point.step for point in told.curves} == set(range(1, STEPS + 1))
    (cost,) = [each for each in told.metrics if each.name == "training/seconds_per_scene"]
    per_step = steps["finetune"].params["training"]["scenes_per_step"]
    assert cost.n < STEPS * per_step, "the second attempt goes on from a checkpoint of the first"
    write_pretrained(trained, tmp_path / "export")
    architecture = open_student(trained).config.architecture()
    model: Any = architecture.model_class
    exported = model.from_pretrained(tmp_path / "export", dtype="auto").state_dict()
    for name, value in exported.items():
        torch.testing.assert_close(value, weights[f"model.{name}"], rtol=0, atol=0)
