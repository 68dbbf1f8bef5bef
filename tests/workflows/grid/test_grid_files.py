from __future__ import annotations

from pathlib import Path

import pytest

from threedrs_platform.config.strict_yaml import load_document
from threedrs_workflows.experiment_identity import experiment_id
from threedrs_workflows.grid.cells import expand, load_cells
from threedrs_workflows.grid.diff import diff_grids
from threedrs_workflows.grid.presets import preset_names, presets_folder

ROOT = Path(__file__).resolve().parents[3]
GRIDS = [ROOT / "ablations.yaml", *sorted((ROOT / "workflows" / "grids").glob("*.yaml"))]
HEAD = "version: 1\nname: test\nbase: {preset: micro}\n"


MICRO = ("ablations.yaml", "micro_full.yaml", "micro_arms.yaml", "micro_layer_map.yaml")


@pytest.mark.parametrize(
    ("path", "smoke"),
    [(path, smoke) for path in GRIDS for smoke in (False, path.name in MICRO)],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_every_shipped_grid_expands(path: Path, smoke: bool) -> None:
    grid = load_cells(path, smoke=smoke)
    assert grid.cells
    assert all(experiment_id(cell.experiment) == cell.cell_id for cell in grid.cells)
    assert grid.compared_to() is not None


def test_the_demo_has_seeds_enough_for_tests_and_few_cells() -> None:
    grid = load_cells(ROOT / "ablations.yaml")
    assert [cell.experiment.teacher for cell in grid.cells] == ["none", "vggt"]
    assert grid.cells[0].label == "baseline" and len(grid.seeds) >= 4


def test_the_full_study_compares_what_the_paper_compares() -> None:
    grid = load_cells(ROOT / "workflows/grids/micro_full.yaml")
    cells = {cell.title: cell.experiment for cell in grid.cells}
    assert grid.cells[0].is_baseline
    assert grid.cells[0].label == "baseline"
    assert {cells[title].teacher for title in cells} == {"none", "mae", "vggt"}
    assert any(each.correspondence.weight > 0 for each in cells.values())
    assert any(each.alignment.layers == (2,) for each in cells.values())
    assert any(each.student_config().blind for each in cells.values())


def test_full_grid_has_enough_seeds_for_paired_tests() -> None:
    assert len(load_cells(ROOT / "workflows/grids/micro_full.yaml").seeds) >= 6


OF_3D = ("distillation", "fusion", "reconstruction")
OF_BOTH = (
    "distillation 2D",
    "distillation 3D",
    "fusion 2D",
    "fusion 3D",
    "reconstruction",
    "depth of the 3D teacher",
)


@pytest.mark.parametrize(("name", "controlled"), [("arms", OF_BOTH), ("micro_arms", OF_3D)])
def test_arms_share_data_steps_and_budget_and_each_has_its_control(
    name: str, controlled: tuple[str, ...]
) -> None:
    grid = load_cells(ROOT / f"workflows/grids/{name}.yaml")
    cells = {cell.title: cell.experiment for cell in grid.cells}
    alike = cells["none"]
    own_rate = {"learning_rate": alike.training.learning_rate}
    for each in cells.values():
        assert each.training.model_copy(update=own_rate) == alike.training
    assert all(each.scenes == alike.scenes for each in cells.values())
    arms = [title for title in cells if title.partition(" ")[0] in ("fusion", "reconstruction")]
    assert len(arms) > 3 and "distillation 2D" in cells and "distillation 3D" in cells
    both, fused = cells["fusion and distillation 3D"], cells["fusion 3D"]
    assert both.fuses() and both.distils() and fused.fuses() and not fused.distils()
    assert both.alignment == cells["distillation 3D"].alignment
    controls = [title for title in cells if title.startswith("control: ")]
    assert controls == [f"control: {arm}" for arm in controlled]
    assert grid.tuning is not None and len(grid.tuning.arms) == len(cells)
    for arm in grid.tuning.arms:
        at_rate = cells[arm.label].model_copy(update={"training": arm.experiment.training})
        assert experiment_id(arm.experiment) == experiment_id(at_rate), arm.label
    space = grid.tuning.arms[0].dimensions
    assert space and all(arm.dimensions == space for arm in grid.tuning.arms)


def test_examples_in_the_comments_of_the_ablation_are_valid() -> None:
    lines = (ROOT / "ablations.yaml").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# Further sections"))
    examples = [line.removeprefix("#   ") for line in lines[start:] if line.startswith("#   ")]
    text = HEAD.replace("}", ", teacher: none}") + "\n".join(examples)
    assert len(examples) >= 7
    assert expand(load_document(text)).cells


def test_presets_of_a_checkout_are_its_own() -> None:
    assert presets_folder() == ROOT / "workflows" / "presets"
    assert preset_names() == [
        "3drs",
        "as_published",
        "as_released",
        "clean",
        "internvl",
        "micro",
        "one_gpu_24g",
        "one_gpu_80g",
        "qwen3_vl",
        "released_weights",
        "ross3d",
        "video_3d_llm",
        "vsi",
    ]


def test_smoke_is_much_smaller_than_the_preset() -> None:
    large, small = (expand(load_document(HEAD), smoke=smoke).base for smoke in (False, True))
    assert small.training.steps * 10 < large.training.steps
    assert small.student_pretraining.tower_steps * 10 < large.student_pretraining.tower_steps
    for name, recipe in small.teacher_pretraining.items():
        assert recipe.steps * 10 < large.teacher_pretraining[name].steps


def test_digest_is_of_the_meaning_not_of_the_text() -> None:
    text = HEAD + "matrix: {teacher: [none, vggt]}\n"
    same = "# why\n" + HEAD + "matrix:\n  teacher: {values: [none, vggt]}\nseeds: [0]\n"
    other = text + "seeds: [1]\n"
    digests = [expand(load_document(each)).digest for each in (text, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_difference_of_two_grids_is_in_cells_and_seeds() -> None:
    old = expand(load_document(HEAD + "matrix: {teacher: [none, mae]}\nseeds: [1, 2]"))
    new = expand(load_document(HEAD + "matrix: {teacher: [none, vggt]}\nseeds: [2, 3]"))
    diff = diff_grids(old, new)
    assert [cell.name for cell in diff.added] == ["teacher=vggt"]
    assert [cell.name for cell in diff.removed] == ["teacher=mae"]
    assert [cell.name for cell in diff.kept] == ["teacher=none"]
    assert (diff.seeds_added, diff.seeds_removed) == ((3,), (1,))
    assert not diff.is_empty
    assert diff_grids(new, new).is_empty
