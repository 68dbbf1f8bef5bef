"""The presets of the real models: where they differ, and that it matters there."""

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
from threedrs_workflows.experiment_identity import experiment_id
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.presets import load_preset
from threedrs_workflows.testing.cell_steps import cell_steps

GRIDS = Path(__file__).resolve().parents[3] / "workflows" / "grids"
README = Path(__file__).resolve().parents[3] / "workflows" / "README.md"
SWITCHES: dict[str, tuple[Any, Any, str]] = {
    "alignment.frames": ("all_images", "student", "extract"),
    "alignment.teacher_area": ("frame", "covered", "extract"),
    "students.llava.object_features": ("both", "vision", "finetune"),
    "students.onevision.object_features": ("both", "vision", "finetune"),
    "students.qwen2_vl.object_features": ("both", "vision", "finetune"),
    "alignment.loss": ("euclidean", "cosine", "finetune"),
    "benchmarks.prompts.evaluation_preamble": ("", SPATIAL_SENTENCE, "samples"),
    "text.mask": ("released", "clean", "finetune"),
    "correspondence.level": ("token", "pixel", "finetune"),
    "probe.level": ("token", "pixel", "probe"),
    "prepare.arithmetic": ("bfloat16", "float32", "prepare"),
    "prepare.evaluation_arithmetic": ("float16", "float32", "prepare"),
    "prepare.invalid_depth": ("camera_centre", "masked", "prepare"),
    "benchmarks.protocols.scan2cap": ("3drs_as_run", "3drs", "score"),
}
"""Setting -> as released, clean, and the step that it reaches first."""
OLDER: dict[str, tuple[Any, Any, str]] = {
    "prepare.resize": ("squash", "crop", "prepare"),
    "alignment.loss": ("euclidean", "cosine+gram", "finetune"),
}
"""The same of as_published: what the code did when the numbers were printed."""


def base(preset: str, **changes: str) -> Experiment:
    text = f"version: 1\nname: x\nbase: {{preset: {preset}}}\n"
    return expand(load_document(text), sets=tuple(f"{k}={v}" for k, v in changes.items())).base


@pytest.mark.parametrize(("preset", "switches"), [("clean", SWITCHES), ("as_published", OLDER)])
def test_the_presets_differ_in_the_switches_and_in_nothing_else(
    preset: str, switches: dict[str, tuple[Any, Any, str]]
) -> None:
    released, other = (flatten(base(name).canonical()) for name in ("as_released", preset))
    keys = released.keys() | other.keys()
    assert {key for key in keys if released.get(key) != other.get(key)} == set(switches)
    for key, (as_released, changed, _) in switches.items():
        assert (released[key], other[key]) == (as_released, changed), key


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


@pytest.mark.parametrize(
    ("key", "switch"),
    [(key, switch) for table in (SWITCHES, OLDER) for key, switch in table.items()],
)
def test_every_switch_reaches_the_step_that_it_is_about(
    key: str, switch: tuple[Any, Any, str]
) -> None:
    """A switch that no step is told of would change nothing but a label."""
    student = key.split(".")[1] if key.startswith("students.") else "llava"
    of_qwen = {"prepare": {"image_size": 392, "covered": None, "patch_grid": None}}
    size = of_qwen if student == "qwen2_vl" else {}
    data = base("as_released").model_dump(mode="json")
    data = put_in(data, (), {"student": student, "teacher": "vggt", **size})
    data = put_in(data, ("correspondence",), {"weight": 1.0})
    changed = put_in(data, tuple(key.split(".")), switch[1])
    assert get_in(data, tuple(key.split("."))) == switch[0]
    one, other = (
        cell_steps(Experiment.model_validate(tree), 1, FileDigests(absent={}))
        for tree in (data, changed)
    )
    differing = {role for role in one if role in other and one[role].params != other[role].params}
    assert switch[2] in differing


def test_the_readme_tells_every_disagreement_and_every_switch() -> None:
    rows = [line for line in README.read_text().splitlines() if re.match(r"\| D\d+ \|", line)]
    named = [re.match(r"\| (D\d+) \|", row)[1] for row in rows]  # type: ignore[index]
    assert named == [f"D{number}" for number in range(1, 16)]
    text = "\n".join(rows).replace("students.*", "students.llava")
    for key in SWITCHES | OLDER:
        if key.split(".")[1] not in ("onevision", "qwen2_vl"):
            assert f"`{key}`" in text, key


@pytest.mark.parametrize("preset", ["as_released", "as_published", "clean"])
def test_three_prompts_begin_with_the_space_behind_the_image(preset: str) -> None:
    benchmarks = base(preset).benchmarks
    spaced = {
        name: benchmarks.loader(name).model_dump()["prompt"].startswith(" ")
        for name in benchmarks.names
    }
    assert [name for name, begins in spaced.items() if begins] == ["scan2cap", "scanqa", "sqa3d"]
    for name, template in spaced.items():
        # Nothing but the space is changed.
        default = type(benchmarks.loader(name))().model_dump()["prompt"]
        assert benchmarks.loader(name).model_dump()["prompt"] == " " * template + default


@pytest.mark.parametrize("preset", ["as_released", "clean"])
def test_no_preset_weighs_the_text_loss_by_its_mask(preset: str) -> None:
    assert base(preset).text.normaliser == "released"
    assert base("micro").text.normaliser == "learned"


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


def test_settings_that_came_later_give_cells_of_clips_no_other_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("PRESET", "vsi"), ("GPUS", "8"), ("DATA", "data")):
        monkeypatch.setenv(name, value)
    grid = expand(load_document((GRIDS / "table1.yaml").read_text()))
    # Of this tree before scenes.conversations, prepare.sampling and probe.places existed.
    assert [cell.cell_id for cell in grid.cells] == ["8212b1ef8e0a", "0bbda8bef4cc"]


def test_one_large_gpu_makes_the_cells_of_eight_and_a_small_one_makes_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only how the work is done differs, so results are the same ones, and found in the cache."""
    identities = {}
    for preset in ("as_released", "one_gpu_80g", "one_gpu_24g"):
        monkeypatch.setenv("PRESET", preset)
        monkeypatch.setenv("GPUS", "8" if preset == "as_released" else "1")
        grid = expand(load_document((GRIDS / "table4.yaml").read_text()))
        identities[preset] = [experiment_id(cell.experiment) for cell in grid.cells]
    assert identities["one_gpu_80g"] == identities["as_released"]
    assert not set(identities["one_gpu_24g"]) & set(identities["as_released"])
