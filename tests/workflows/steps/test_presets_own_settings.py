"""Each student of the presets from posed images to an export, executed as its preset executes it.

ZeRO-3, bfloat16, gradient checkpointing, accumulation, released object features, several ranks,
float16 at evaluation: only sizes are small, and the files tiny, random, and in their real formats.
"""

from __future__ import annotations

import importlib
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
from threedrs_platform.steps import StepSpec, StepTask
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.plan.cell_steps import cell_steps

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


class Cell:
    """Runs the steps of a cell one after another, in this process and in those of its ranks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recorders: dict[str, Recorder] = {}
        self.done: dict[int, Path] = {}

    def run(self, step: StepSpec) -> Path:
        """The step's output; training is killed once on the way."""
        if id(step) not in self.done:
            inputs = {name: self.run(read) for name, read in step.inputs.items()}
            if step.kind == "finetune":
                with pytest.raises(Killed):
                    self._attempt(step, inputs, KilledAt(STEPS - 1))
            recorder = self.recorders[step.kind + step.label] = Recorder()
            self.done[id(step)] = self._attempt(step, inputs, recorder)
        return self.done[id(step)]

    def _attempt(self, step: StepSpec, inputs: dict[str, Path], recorder: Recorder) -> Path:
        folder = self.root / f"{step.kind}-{id(step)}"
        for name in ("out", "scratch"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        module, _, function = step.entry.partition(":")
        task = StepTask(
            dict(step.params), inputs, folder / "out", folder / "scratch", recorder,
            {**step.settings, "gpus": GPUS.get(step.kind, 0)},
        )  # fmt: skip
        getattr(importlib.import_module(module), function)(task)
        return folder / "out"


@pytest.mark.ranks
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("preset", "student", "changes"),
    [
        ("as_released", "llava", {}),
        pytest.param("clean", "onevision", {}, marks=pytest.mark.slow),
        pytest.param("as_released", "qwen2_vl", OF_QWEN, marks=pytest.mark.slow),
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
    cell = Cell(tmp_path)
    for step in steps.values():
        cell.run(step)
    measured = {metric.name for recorder in cell.recorders.values() for metric in recorder.metrics}
    assert {"scanrefer/acc@0.25", "multi3drefer/f1@0.25", "scan2cap/cider@0.5"} <= measured
    assert {"scanqa/em@1", "sqa3d/em", "probe/score", "training/loss"} <= measured
    trained = cell.done[id(steps["finetune"])]
    weights = load_file(trained / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert len(cell.recorders["finetune"].curves) > 0
    write_pretrained(trained, tmp_path / "export")
    architecture = open_student(trained).config.architecture()
    model: Any = architecture.model_class
    exported = model.from_pretrained(tmp_path / "export", dtype="auto").state_dict()
    for name, value in exported.items():
        torch.testing.assert_close(value, weights[f"model.{name}"], rtol=0, atol=0)
