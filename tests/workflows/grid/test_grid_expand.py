from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import GridCells, expand


def grid(text: str = "", **options: Any) -> GridCells:
    head = "" if "base:" in text else "base: {preset: micro}\n"
    return expand(load_document(f"version: 1\nname: test\n{head}{text}", "g.yaml"), **options)


def names(text: str = "", **options: Any) -> list[str]:
    return [cell.name for cell in grid(text, **options).cells]


MATRIX = "matrix: {teacher: [none, vggt], correspondence.weight: [0.0, 1.0]}\n"


def test_without_axes_a_grid_is_its_base() -> None:
    (cell,) = grid().cells
    assert (cell.name, cell.is_baseline, cell.axes) == ("base", True, {})
    assert cell.experiment.teacher == "none"


def test_matrix_is_the_product_of_its_axes() -> None:
    assert names(MATRIX) == [
        "teacher=none,correspondence.weight=0.0",
        "teacher=vggt,correspondence.weight=0.0",
        "teacher=none,correspondence.weight=1.0",
        "teacher=vggt,correspondence.weight=1.0",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("[100, 200]", [100, 200]),
        ("{values: [100, 200]}", [100, 200]),
        ("{range: [110, 310, 100]}", [110, 210, 310]),
        ("{range: [100, 299, 100]}", [100, 200]),
        ("{range: [3, 1, -1]}", [3, 2, 1]),
    ],
)
def test_forms_of_an_axis(values: str, expected: list[int]) -> None:
    cells = grid(f"matrix: {{training.steps: {values}}}").cells
    assert [cell.experiment.training.steps for cell in cells] == expected


def test_ranges_of_fractions_do_not_drift() -> None:
    cells = grid("matrix: {alignment.weight: {range: [0.1, 0.7, 0.1]}, teacher: [vggt]}").cells
    weights = [cell.experiment.alignment.weight for cell in cells]
    assert weights == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_zip_changes_its_settings_in_step_and_is_crossed_with_the_rest() -> None:
    zipped = "zip: {size: {scenes.text: [50, 100], training.steps: [10, 20]}}\n"
    cells = grid(zipped + "matrix: {teacher: [none, vggt]}").cells
    sizes = [(c.experiment.scenes.text, c.experiment.training.steps) for c in cells]  # type: ignore[union-attr]
    assert sorted(sizes) == [(50, 10), (50, 10), (100, 20), (100, 20)]


def test_ablate_changes_one_factor_at_a_time_and_keeps_the_base() -> None:
    text = "ablate: {factors: {teacher: [mae, vggt], correspondence.weight: [1.0]}}"
    assert names(text) == ["base", "correspondence.weight=1.0", "teacher=mae", "teacher=vggt"]


def test_pairs_of_factors_are_crossed_around_the_base() -> None:
    text = """
ablate:
  factors: {teacher: [mae, vggt], training.steps: [10]}
  pairs: [[teacher, training.steps]]
"""
    assert set(names(text)) == {
        "base",
        "teacher=mae",
        "teacher=vggt",
        "training.steps=10",
        "teacher=mae,training.steps=10",
        "teacher=vggt,training.steps=10",
    }


def test_pairs_may_name_matrix_axes() -> None:
    text = """
matrix: {teacher: [none, vggt]}
ablate: {factors: {training.steps: [10]}, pairs: [[training.steps, teacher]]}
"""
    assert len(names(text)) == 4


def test_exclude_lists_mean_any_of() -> None:
    text = (
        MATRIX + "exclude: [{teacher: [none, mae], correspondence.weight: 1.0, allow_empty: true}]"
    )
    assert "teacher=none,correspondence.weight=1.0" not in names(text)
    assert len(names(text)) == 3


def test_a_list_setting_is_matched_as_a_whole() -> None:
    text = """
base: {preset: micro, teacher: vggt}
matrix: {alignment.layers: [[-1], [2], [1, 2]]}
exclude: [{alignment.layers: [1, 2]}]
"""
    assert names(text) == ["alignment.layers=[-1]", "alignment.layers=[2]"]


def test_exclude_by_expression() -> None:
    text = MATRIX + "exclude: [{where: \"teacher == 'none' and correspondence.weight > 0\"}]"
    assert len(names(text)) == 3


def test_where_sees_defaults_that_no_file_spells_out() -> None:
    text = MATRIX + 'exclude: [{teacher: none, where: "grounding.temperature == 0.07"}]'
    assert len(names(text)) == 2


def test_include_adds_a_cell_even_one_that_is_excluded() -> None:
    text = MATRIX + "exclude: [{teacher: none}]\ninclude: [{teacher: none, label: floor}]"
    labels = {cell.name: cell.label for cell in grid(text).cells}
    assert labels["teacher=none,correspondence.weight=0.0"] == "floor"
    assert len(labels) == 3


def test_include_of_an_existing_cell_labels_it() -> None:
    cells = grid(MATRIX + "include: [{label: baseline}]").cells
    assert len(cells) == 4
    assert [cell.label for cell in cells if cell.is_baseline] == ["baseline"]


def test_include_takes_a_list_as_one_value() -> None:
    text = "include: [{teacher: vggt, alignment.layers: [1, 2]}]\nmatrix: {teacher: [none, mae]}"
    assert "teacher=vggt,alignment.layers=[1,2]" in names(text)


def test_override_sets_further_settings_on_matching_cells() -> None:
    text = MATRIX + "override: [{match: {teacher: vggt}, set: {training.steps: 7}}]"
    steps = {(c.experiment.teacher, c.experiment.training.steps) for c in grid(text).cells}
    assert steps == {("none", grid("").base.training.steps), ("vggt", 7)}


def test_later_overrides_see_earlier_ones() -> None:
    text = """
override:
  - {where: "true", set: {training.steps: 7}}
  - {match: {training.steps: 7}, set: {training.clip: 2.0}}
"""
    assert grid(text).cells[0].experiment.training.clip == 2.0


def test_override_of_resources_leaves_the_identity_alone() -> None:
    plain = grid(MATRIX)
    text = "steps: {finetune: {cpus: 2}}\n" + MATRIX
    text += (
        "override: [{match: {teacher: vggt}, set: {steps.finetune.gpus: 1, steps.probe.cpus: 3}}]"
    )
    changed = grid(text)
    assert [c.cell_id for c in changed.cells] == [c.cell_id for c in plain.cells]
    for cell in changed.cells:
        with_gpu = cell.experiment.teacher == "vggt"
        assert cell.resources["finetune"].gpus == int(with_gpu)
        assert cell.resources["finetune"].cpus == 2
        assert ("probe" in cell.resources) == with_gpu


def test_irrelevant_settings_make_cells_equal() -> None:
    text = """
matrix: {teacher: [none, vggt], training.clip: [1.0, 2.0]}
irrelevant: [{where: "teacher == 'none'", keys: [training.clip]}]
"""
    assert names(text) == [
        "teacher=none,training.clip=1.0",
        "teacher=vggt,training.clip=1.0",
        "teacher=vggt,training.clip=2.0",
    ]


def test_settings_without_effect_make_cells_equal_by_themselves() -> None:
    text = "matrix: {teacher: [none, vggt], alignment.layers: [[-1], [2]]}"
    assert names(text) == [
        "teacher=none",
        "teacher=vggt,alignment.layers=[-1]",
        "teacher=vggt,alignment.layers=[2]",
    ]


def test_a_section_can_be_an_axis() -> None:
    text = """
base: {preset: micro, teacher: vggt}
matrix:
  alignment: [{loss: cosine, weight: 1.0}, {loss: euclidean, weight: 3.0}]
"""
    pairs = [(c.experiment.alignment.loss, c.experiment.alignment.weight) for c in grid(text).cells]
    assert pairs == [("cosine", 1.0), ("euclidean", 3.0)]


def test_base_may_be_nested_or_dotted() -> None:
    nested = grid("base: {preset: micro, training: {steps: 5, clip: 2.0}}").cells[0]
    dotted = grid("base: {preset: micro, training.steps: 5, training.clip: 2.0}").cells[0]
    assert nested.cell_id == dotted.cell_id
    assert nested.experiment.training.scenes_per_step == 4


def test_seeds_are_replicates_not_cells() -> None:
    assert grid("seeds: [3, 5]").seeds == (3, 5)
    assert grid("seeds: [3, 5]").cells[0].cell_id == grid("seeds: [1]").cells[0].cell_id


def test_set_changes_the_base_or_the_axis() -> None:
    assert names(MATRIX, sets=["correspondence.weight=0.5"]) == ["teacher=none", "teacher=vggt"]
    many = grid(MATRIX, sets=["teacher=mae,vggt", "training.steps=5"]).cells
    assert {(c.experiment.teacher, c.experiment.training.steps) for c in many} == {
        ("mae", 5),
        ("vggt", 5),
    }


def test_set_of_several_values_replaces_a_factor_where_it_stands() -> None:
    ablation = "ablate: {factors: {teacher: [mae], training.clip: [2.0]}}"
    assert names(ablation, sets=["teacher=vggt,mae"]) == [
        "base",
        "teacher=vggt",
        "teacher=mae",
        "training.clip=2.0",
    ]


def test_set_of_several_values_multiplies_the_whole_grid() -> None:
    text = """
ablate: {factors: {teacher: [vggt]}}
include: [{label: baseline}, {teacher: vggt, alignment.layers: [2]}]
"""
    cells = grid(text, sets=["alignment.weight=1.0,3.0"]).cells
    assert [(cell.name, cell.label) for cell in cells] == [
        ("base", "baseline"),
        ("teacher=vggt,alignment.weight=1.0", ""),
        ("teacher=vggt,alignment.weight=3.0", ""),
        ("teacher=vggt,alignment.layers=[2],alignment.weight=1.0", ""),
        ("teacher=vggt,alignment.layers=[2],alignment.weight=3.0", ""),
    ]


def test_the_first_value_of_an_added_axis_keeps_the_labels() -> None:
    cells = grid("include: [{label: baseline}]", sets=["training.steps=7,8"]).cells
    assert [(cell.name, cell.label) for cell in cells] == [
        ("training.steps=7", "baseline"),
        ("training.steps=8", ""),
    ]


def test_set_takes_lists_and_seeds() -> None:
    found = grid(
        "base: {preset: micro, teacher: vggt}", sets=["alignment.layers=[1],[1, 2]", "seeds=7,8"]
    )
    assert [c.experiment.alignment.layers for c in found.cells] == [(1,), (1, 2)]
    assert found.seeds == (7, 8)


def test_where_filters_and_leaves_names_alone() -> None:
    assert names(MATRIX, where="teacher == 'vggt'") == [
        "teacher=vggt,correspondence.weight=0.0",
        "teacher=vggt,correspondence.weight=1.0",
    ]


def test_where_knows_a_cell_by_its_label_and_name() -> None:
    labelled = MATRIX + "include: [{teacher: mae, label: ours}]\n"
    assert names(labelled, where="label == 'ours'") == ["teacher=mae,correspondence.weight=0.0"]
    chosen = "teacher=none,correspondence.weight=1.0"
    assert names(labelled, where=f"label == '' and name == '{chosen}'") == [chosen]


def test_smoke_lays_the_small_sizes_over_the_base_and_keeps_the_axes() -> None:
    small = grid("seeds: [4, 5]\n" + MATRIX, smoke=True)
    assert small.name == "test-smoke"
    assert small.seeds == (4,)
    assert len(small.cells) == 4
    assert all(cell.experiment.training.steps < 10 for cell in small.cells)
    assert len(grid("matrix: {training.steps: [20, 30]}", smoke=True).cells) == 2


def test_environment_is_filled_in_where_it_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", "/data/w")
    text = """
env: {WEIGHTS: null, KIND: vggt}
base: {preset: micro, teacher: "${KIND}", teachers.vggt.checkpoint: "${WEIGHTS}/model.pt"}
"""
    found = grid(text)
    assert found.cells[0].experiment.teachers["vggt"].checkpoint == "/data/w/model.pt"
    assert found.env == {"WEIGHTS": "/data/w", "KIND": "vggt"}


def test_limits_stop_a_product_before_it_is_built() -> None:
    axes = ", ".join(f"training.{k}: {{range: [1, 1000, 1]}}" for k in ("steps", "scenes_per_step"))
    with pytest.raises(ConfigError, match="1000000 cells before exclusions, but limits"):
        grid(f"matrix: {{{axes}}}")


def test_limits_count_cells_after_exclusion() -> None:
    limited = "limits: {max_cells: 3}\n" + MATRIX
    with pytest.raises(ConfigError, match=r"g\.yaml:4:21: limits\.max_cells: 4 cells"):
        grid(limited)
    assert len(grid(limited + "exclude: [{teacher: none, correspondence.weight: 1.0}]").cells) == 3


FULL: dict[str, Any] = {
    "version": 1,
    "name": "full",
    "base": {"preset": "micro", "training.steps": 9, "correspondence": {"weight": 0.0}},
    "seeds": [1, 2],
    "matrix": {"teacher": ["none", "vggt", "mae"], "training.clip": [1.0, 2.0]},
    "zip": {"size": {"scenes.text": [50, 60], "scenes.val": [20, 30]}},
    "ablate": {
        "factors": {"text.weight": [0.5], "grounding.weight": [0.5, 2.0]},
        "pairs": [["text.weight", "grounding.weight"]],
    },
    "exclude": [
        {"teacher": "mae", "training.clip": 2.0},
        {"where": "scenes.text == 60 and teacher == 'none'"},
    ],
    "include": [
        {"student": "blind", "label": "blind"},
        {"teacher": "vggt", "alignment.layers": [1]},
    ],
    "override": [
        {"match": {"teacher": "vggt"}, "set": {"training.steps": 5, "training.weight_decay": 0.1}}
    ],
    "irrelevant": [{"where": "teacher == 'none'", "keys": ["training.clip"]}],
    "report": {"compare_to": "base"},
}


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same data with the keys of every mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_expansion_does_not_depend_on_the_order_of_keys(seed: int) -> None:
    text = yaml.safe_dump(shuffled(FULL, random.Random(seed)), sort_keys=False)
    found, reference = (expand(load_document(t)) for t in (text, json.dumps(FULL)))
    assert [(c.cell_id, c.name, c.label) for c in found.cells] == [
        (c.cell_id, c.name, c.label) for c in reference.cells
    ]
    assert found.digest == reference.digest


def test_names_of_different_cells_differ() -> None:
    cells = expand(load_document(json.dumps(FULL))).cells
    assert len({cell.name for cell in cells}) == len({cell.cell_id for cell in cells}) == len(cells)
    assert [cell.is_baseline for cell in cells].count(True) == 1
    assert cells[0].is_baseline


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["none", "mae", "vggt"]), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    st.sampled_from(["none", "mae", "vggt"]),
    st.integers(1, 9),
)
def test_expansion_agrees_with_a_loop_over_the_product(
    teachers: list[str], steps: list[int], out_teacher: str, out_steps: int
) -> None:
    base = {"preset": "micro", "training.steps": 77, "teacher": "vggt"}
    data = {
        "version": 1,
        "name": "loop",
        "base": base,
        "matrix": {"teacher": teachers, "training.steps": steps},
        "exclude": [{"teacher": out_teacher, "training.steps": out_steps, "allow_empty": True}],
        "include": [{"label": "base"}],
    }
    expected = {(t, s) for t in teachers for s in steps if (t, s) != (out_teacher, out_steps)}
    cells = expand(load_document(json.dumps(data))).cells
    found = [(c.experiment.teacher, c.experiment.training.steps) for c in cells]
    assert len(found) == len(set(found))
    assert set(found) == expected | {("vggt", 77)}


def test_depth_of_a_teacher_alone_has_another_name_than_beside_alignment() -> None:
    depth = "teacher: vggt, depth.weight: 1.0, depth.source: teacher"
    found = names(f"include: [{{{depth}}}, {{{depth}, alignment.weight: 0.0}}]")
    assert len(found) == len(set(found)) == 3
