"""The teacher's depth in a cell, from the teacher's training to the student's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threedrs_components.teachers.map_choices import DEPTH_AND_WEIGHT
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_platform.store.features import FeatureFolder
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell
from threedrs_workflows.testing.tiny_cell import GRID

TAUGHT: dict[str, Any] = {
    "teacher": "vggt",
    "teacher_pretraining.vggt": {"steps": 2, "scenes_per_step": 2},
    "scenes.teacher_scenes": 4,
}
OF_TEACHER = {"alignment.weight": 0.0, "depth": {"weight": 1.0, "source": "teacher"}}


def steps_of(**changes: Any) -> dict[str, StepSpec]:
    tree = expand(load_document(GRID)).base.model_dump(mode="json")
    return cell_steps(Experiment.model_validate(put_in(tree, (), changes)), 1, FileDigests())


def test_a_students_loss_falls_on_the_depth_that_its_teacher_gave(tmp_path: Path) -> None:
    depth = {"weight": 1.0, "source": "teacher", "confidence": True}
    longer = {"training.steps": 10, "training.log_every": 1}
    steps = steps_of(**TAUGHT | OF_TEACHER | longer | {"depth": depth})
    cell = OneCell(tmp_path)
    cell.run(steps["finetune"])
    stored = FeatureFolder(cell.run(steps["extract_depth"]))
    header = stored.stored(stored.scenes()[0]).header
    assert (header.teacher, header.output) == ("vggt", DEPTH_AND_WEIGHT)
    for scene in stored.scenes():
        values = stored[scene].features.astype(np.float32)
        assert values.shape == (3, 4, 4, 2) and (values > 0).all()
        assert values[..., 0].mean() == pytest.approx(1, abs=1e-2)
    curve = cell.recorders["finetune"].curves
    losses = [point.value for point in curve if point.name == "loss/depth"]
    assert len(losses) == 10 and sum(losses[:3]) > sum(losses[-3:]) > 0, losses


def test_only_its_own_cell_has_the_step_and_shares_all_else() -> None:
    distilled, both = steps_of(**TAUGHT), steps_of(**TAUGHT, **{"depth": OF_TEACHER["depth"]})
    alone, sensed = steps_of(**TAUGHT | OF_TEACHER), steps_of(**{"depth.weight": 1.0})
    assert set(both) - set(distilled) == {"extract_depth"}
    shared = distilled.keys() - {"finetune", "probe", "predict", "score"}
    assert {role: both[role] for role in shared} == {role: distilled[role] for role in shared}
    assert alone["extract_depth"] == both["extract_depth"]
    assert alone["finetune"].inputs["teacher_depth"] == both["extract_depth"]
    assert both["extract_depth"].params["splits"] == ["text"]
    # Nobody reads features in a cell of depth alone, so none are made, whatever their layer.
    assert not {"extract", "probe_teacher"} & alone.keys()
    assert "features" not in alone["finetune"].inputs and "features" in both["finetune"].inputs
    other = steps_of(**TAUGHT | OF_TEACHER | {"teachers.vggt.layer": 1})
    assert other["finetune"].inputs == alone["finetune"].inputs
    for steps in (distilled, sensed):
        assert not {"teacher_depth", "extract_depth"} & {*steps, *steps["finetune"].inputs}


def test_cells_without_it_are_told_nothing_of_it() -> None:
    """So that their keys are what they were."""
    assert "gives" not in steps_of(**TAUGHT)["extract"].params
    (told,) = [
        each["settings"]
        for each in steps_of(**{"depth.weight": 1.0})["finetune"].params["objectives"]
        if each["module"].endswith(".depth")
    ]
    assert not {"source", "confidence", "control"} & set(told)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (TAUGHT | {"teacher": "mae"}, "'mae' is of kind mae, which gives no depth; take vggt, or"),
        ({"teacher": "none"}, "and there is none; take vggt, or set source: sensor"),
        (TAUGHT | {"teachers": {"vggt": {"kind": "dinov2", "checkpoint": "x"}}},
         "kind dinov2, which gives no depth; take a teacher of kind vggt, da3 or pi3, or"),
    ],
)  # fmt: skip
def test_a_teacher_without_depth_is_refused_by_name(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        steps_of(**OF_TEACHER | changes)
