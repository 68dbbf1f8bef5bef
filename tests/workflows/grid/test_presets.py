"""The two presets of the real models: where they differ, and that it matters there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.wording import SPATIAL_SENTENCE
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import get_in, put_in
from threedrs_platform.database.measurements import flatten
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.presets import load_preset
from threedrs_workflows.plan.cell_steps import cell_steps

README = Path(__file__).resolve().parents[3] / "workflows" / "README.md"
SWITCHES: dict[str, tuple[Any, Any, str]] = {
    "alignment.frames": ("all_images", "student", "extract"),
    "prepare.resize": ("crop", "squash", "prepare"),
    "students.llava.object_features": ("both", "vision", "finetune"),
    "students.onevision.object_features": ("both", "vision", "finetune"),
    "students.qwen2_vl.object_features": ("both", "vision", "finetune"),
    "alignment.loss": ("euclidean", "cosine", "finetune"),
    "benchmarks.prompts.evaluation_preamble": ("", SPATIAL_SENTENCE, "samples"),
    "text.mask": ("released", "clean", "finetune"),
    "correspondence.level": ("token", "pixel", "finetune"),
    "probe.level": ("token", "pixel", "probe"),
    "prepare.arithmetic": ("bfloat16", "float32", "prepare"),
    "benchmarks.protocols.scan2cap": ("3drs_as_run", "3drs", "score"),
}
"""Setting -> as released, clean, and the step that it reaches first."""


def base(preset: str, **changes: str) -> Experiment:
    text = f"version: 1\nname: x\nbase: {{preset: {preset}}}\n"
    return expand(load_document(text), sets=tuple(f"{k}={v}" for k, v in changes.items())).base


def test_the_presets_differ_in_the_switches_and_in_nothing_else() -> None:
    released, clean = (flatten(base(name).canonical()) for name in ("as_released", "clean"))
    keys = released.keys() | clean.keys()
    differing = {key for key in keys if released.get(key) != clean.get(key)}
    assert differing == set(SWITCHES)
    for key, (as_released, as_clean, _) in SWITCHES.items():
        assert (released[key], clean[key]) == (as_released, as_clean), key


@pytest.mark.parametrize("gpus", [1, 2, 4, 8, 16])
def test_as_many_workers_train_as_there_are_gpus_at_the_same_batch(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUS", str(gpus))
    training = base("clean").training
    assert (training.workers, training.rounds(gpus)) == (gpus, 16 // gpus)


def test_a_number_of_gpus_that_does_not_divide_the_batch_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPUS", "3")
    with pytest.raises(ConfigError, match=r"training\.workers: 3 workers .* scenes_per_step: 16"):
        base("as_released")


@pytest.mark.parametrize("key", SWITCHES)
def test_every_switch_reaches_the_step_that_it_is_about(key: str) -> None:
    """A switch that no step is told of would change nothing but a label."""
    student = key.split(".")[1] if key.startswith("students.") else "llava"
    size = {"prepare": {"image_size": 392, "patch_grid": None}} if student == "qwen2_vl" else {}
    data = base("as_released").model_dump(mode="json")
    data = put_in(data, (), {"student": student, "teacher": "vggt", **size})
    data = put_in(data, ("correspondence",), {"weight": 1.0})
    changed = put_in(data, tuple(key.split(".")), SWITCHES[key][1])
    assert get_in(data, tuple(key.split("."))) == SWITCHES[key][0]
    one, other = (
        cell_steps(Experiment.model_validate(tree), 1, FileDigests(absent={}))
        for tree in (data, changed)
    )
    differing = {role for role in one if role in other and one[role].params != other[role].params}
    assert SWITCHES[key][2] in differing


def test_the_readme_tells_every_disagreement_and_every_switch() -> None:
    rows = [line for line in README.read_text().splitlines() if re.match(r"\| D\d+ \|", line)]
    named = [re.match(r"\| (D\d+) \|", row)[1] for row in rows]  # type: ignore[index]
    assert named == [f"D{number}" for number in range(1, 16)]
    text = "\n".join(rows).replace("students.*", "students.llava")
    for key in SWITCHES:
        if key.split(".")[1] not in ("onevision", "qwen2_vl"):
            assert f"`{key}`" in text, key


def test_where_the_data_lies_is_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/elsewhere")
    assert base("clean").scenes.model_dump()["posed_images"] == "/elsewhere/scannet/posed_images"
    monkeypatch.delenv("DATA")
    assert base("clean").scenes.model_dump()["posed_images"] == "data/scannet/posed_images"


def test_a_grid_may_say_where_the_data_lies() -> None:
    text = "version: 1\nname: x\nenv: {DATA: /mine}\nbase: {preset: as_released}\n"
    found = expand(load_document(text)).base.benchmarks.annotations
    assert found == "/mine/annotations"


def test_a_preset_that_uses_an_undeclared_variable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("scenes: {kind: rgbd_folder, root: '${ROOMS}'}\n")
    grid = load_document(
        "version: 1\nname: x\nbase: {preset: mine.yaml}\n", str(tmp_path / "grid.yaml")
    )
    with pytest.raises(ConfigError, match=r"mine\.yaml:1:.*declare the variable under `env:`"):
        load_preset("mine.yaml", grid, ("base", "preset"))


def test_a_preset_may_start_from_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("preset: micro\ntraining.steps: 7\n")
    grid = load_document(
        "version: 1\nname: x\nbase: {preset: mine.yaml, training.clip: 0.5}\n",
        str(tmp_path / "grid.yaml"),
    )
    found = expand(grid).base
    assert (found.training.steps, found.training.clip) == (7, 0.5)
    assert (
        found.benchmarks
        == expand(load_document("version: 1\nname: x\nbase: {preset: micro}\n")).base.benchmarks
    )
