"""Readers of a trained cell see what its steps were told, through the classes of the steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.models.of_steps import (
    candidates_wanted,
    prepare_settings,
    recipe_of,
    scene_settings,
)
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.testing.cell_steps import cell_steps

TREE: dict[str, Any] = {
    "scenes": {"kind": "micro"},
    "students": {"micro": {"kind": "llava_video", "gradient_checkpointing": True}},
    "student": "micro",
    "prepare": {"evaluation_arithmetic": "float16", "birds_eye": 64},
    "evaluation": {"dtype": "bfloat16"},
    "benchmarks": {
        "names": ["scanrefer", "scanqa"],
        "candidates": "ground_truth",
        "max_new_tokens": 7,
        "prompts": {"description_case": "lower"},
    },
}


@dataclass(frozen=True)
class Planned:
    """Steps that have not run; whatever they would make lies in one folder."""

    specs: Mapping[str, StepSpec]
    place: Path
    run_id: str = "run-1"
    title: str = "base, seed 1"

    def folder(self, role: str) -> Path:
        return self.place


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    return Planned(cell_steps(Experiment.model_validate(TREE), 1, FileDigests()), tmp_path)


def test_a_recipe_says_what_the_experiment_says(planned: Planned) -> None:
    experiment, recipe = Experiment.model_validate(TREE), recipe_of(planned)
    assert recipe.student == experiment.student_config()
    assert recipe.prepare == experiment.prepare.of_evaluation()
    assert recipe.dtype == "bfloat16"
    assert recipe.wording == experiment.benchmarks.wording()
    benchmarks = experiment.benchmarks
    for name, each in recipe.benchmarks.items():
        assert each.asking == benchmarks.asking(name)
        assert each.loader == benchmarks.loader(name)
        assert each.scorer == benchmarks.scorer(name)
    assert [*recipe.benchmarks] == ["scanrefer", "scanqa"]


def test_scenes_and_candidates_are_those_of_the_cell(planned: Planned) -> None:
    experiment = Experiment.model_validate(TREE)
    assert prepare_settings(planned) == experiment.prepare
    assert scene_settings(planned) == experiment.scenes.reader()
    assert candidates_wanted(planned) == "ground_truth"


def test_what_another_version_told_is_refused_by_cell_step_and_setting(planned: Planned) -> None:
    told = planned.specs["predict"]
    other = replace(told, params={**told.params, "evaluation": {"number_format": "float16"}})
    changed = replace(planned, specs={**planned.specs, "predict": other})
    with pytest.raises(ConfigError) as caught:
        recipe_of(changed)
    (fault,) = map(str, caught.value.faults)
    assert fault.startswith("base, seed 1: predict.evaluation.number_format: unknown key")


def test_what_later_versions_add_is_not_read(planned: Planned) -> None:
    told = planned.specs["score"]
    later = replace(told, params={**told.params, "of_a_later_version": 1})
    assert recipe_of(replace(planned, specs={**planned.specs, "score": later})) == recipe_of(
        planned
    )
