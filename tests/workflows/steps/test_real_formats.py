"""Both presets, from posed images to scores, on files of the real formats: only tiny and random.

Rendered rooms stand for ScanNet, random checkpoints of the released layouts for student and
teacher. What comes out means nothing; that all of it runs by configuration alone is the point.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.testing.released_files import write_data
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell

pytestmark = pytest.mark.whole

FRAMES = 2
SMALL: dict[str, Any] = {
    "teacher": "vggt",
    "scenes.num_frames": FRAMES,
    "prepare.num_frames": FRAMES,
    "correspondence.weight": 0.5,
    "students.llava.gradient_checkpointing": False,
    "teachers.vggt.precision": "float32",
    "training.steps": 6,
    "training.scenes_per_step": 2,
    "training.dtype": "float32",
    "training.gradient_accumulation": 1,
    "training.workers": 1,
    "training.strategy": "single",
    "probe.folds": 2,
    "benchmarks.max_new_tokens": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA folder as the presets want it."""
    data = tmp_path_factory.mktemp("data")
    write_data(data)
    return data


def experiment(preset: str, data: Path, changes: Mapping[str, Any]) -> Experiment:
    text = f"version: 1\nname: x\nenv: {{DATA: {data}}}\nbase: {{preset: {preset}}}\n"
    tree = expand(load_document(text)).base.model_dump(mode="json")
    tree = put_in(tree, (), {**SMALL, **changes})
    return Experiment.model_validate(tree)


@pytest.mark.parametrize(
    ("preset", "student"), [("as_released", "llava"), ("clean", "llava"), ("clean", "onevision")]
)
def test_a_preset_runs_on_files_of_the_real_formats(
    preset: str, student: str, data: Path, tmp_path: Path
) -> None:
    cell = OneCell(tmp_path)
    chosen = {"student": student, "students.onevision.gradient_checkpointing": False}
    steps = cell_steps(experiment(preset, data, chosen), 1, FileDigests())
    for step in steps.values():
        cell.run(step)
    assert {"scanrefer/acc@0.25", "multi3drefer/f1@0.25", "scan2cap/cider@0.5"} <= cell.measured
    assert {"scanqa/em@1", "sqa3d/em", "probe/score", "training/loss"} <= cell.measured
    assert ("probe_teacher" in steps) == (preset == "clean")
    curves = {point.name for point in cell.recorders["finetune"].curves}
    assert {f"loss/{n}" for n in ("text", "grounding", "alignment", "correspondence")} <= curves
    assert len(list(tmp_path.glob("extract-*/out/*.arrow"))) == 5


@pytest.mark.parametrize("preset", ["3drs", "video_3d_llm"])
def test_published_weights_are_probed_asked_and_scored_as_they_are(
    preset: str, data: Path, tmp_path: Path
) -> None:
    cell, settings = OneCell(tmp_path), {"training.steps": 0, "teacher": "none"}
    steps = cell_steps(experiment(preset, data, settings), 1, FileDigests())
    assert not {"finetune", "extract"} & steps.keys()
    for step in steps.values():
        cell.run(step)
    assert {"scanrefer/acc@0.25", "multi3drefer/f1@0.25", "scan2cap/cider@0.5"} <= cell.measured
    assert {"scanqa/em@1", "probe/score"} <= cell.measured
    assert not list(tmp_path.glob("pretrain-*/out/*.safetensors"))  # pointed at, not copied
