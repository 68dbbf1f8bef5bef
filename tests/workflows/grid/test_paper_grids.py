"""The grids of the paper's tables and figures: what they hold, and that they plan without data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.paper.tables import paper_table
from threedrs_components.report.paper import paper_row, trained
from threedrs_components.testing.released_files import TEACHERS
from threedrs_components.testing.student_checkpoints import publish
from threedrs_components.testing.teacher_checkpoints import RELEASED_VIEWS, write_tiny_checkpoint
from threedrs_platform.errors import ConfigError
from threedrs_workflows.cli import main
from threedrs_workflows.experiment_identity import canonical_experiment
from threedrs_workflows.grid.cells import GridCell, load_cells

FOLDER = Path(__file__).resolve().parents[3] / "workflows" / "grids"
COUNTS = {
    "table1": (2, 13, 4),
    "table2": (3, 13, 4),
    "table3": (6, 32, 8),
    "table4": (6, 33, 4),
    "table5": (3, 17, 4),
    "table6": (4, 21, 5),
    "table12": (3, 17, 5),
    "table13": (6, 29, 5),
    "figure2": (3, 19, 3),
    "figure3b": (6, 32, 8),
    "object_branch": (4, 21, 5),
    "frames": (7, 39, 7),
    "published": (4, 22, 4),
    "qwen3_vl": (5, 26, 6),
    "arms": (17, 213, 9),
    "layer_map": (31, 130, 6),
}
"""Grid -> cells, steps, steps that several cells share."""


def planned(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    arguments = ["plan", str(path), "--workspace", str(tmp_path / "workspace"), "--json"]
    assert main(arguments) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


@pytest.mark.parametrize("name", COUNTS)
def test_every_grid_plans_where_its_data_is_not(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = planned(FOLDER / f"{name}.yaml", tmp_path, capsys)
    found = len(content["cells"]), len(content["steps"]), content["shared"]
    assert found == COUNTS[name]
    weights = "Qwen3-VL-8B-Instruct" if name == "qwen3_vl" else "LLaVA-Video-7B-Qwen2"
    assert f"data/models/{weights}" in content["absent"]
    assert content["hits"] == 0


def test_no_grid_is_left_out_of_this_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {
        *COUNTS,
        "micro_full",
        "micro_arms",
        "micro_layer_map",
    }


def test_submitting_names_all_that_is_missing_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = str(tmp_path / "workspace")
    assert main(["submit", str(FOLDER / "table1.yaml"), "--workspace", workspace]) == 2
    told = capsys.readouterr().err
    for path in ("data/annotations", "data/models/VGGT-1B/model.safetensors"):
        assert f"{path}: no such file or folder" in told
    assert main(["submit", str(FOLDER / "table2.yaml"), "--workspace", workspace]) == 2
    told = capsys.readouterr().err
    assert "spar_7m.jsonl: no such file or folder; fetch Hugging Face zd11024/VG-LLM-Data" in told


def test_tiny_files_in_place_of_the_data_leave_nothing_absent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = planned(FOLDER / "table4.yaml", tmp_path, capsys)["absent"]
    data = tmp_path / "data"
    kinds = {name: kind for kind, name in TEACHERS.items()}
    for path in absent:  # of weights the headers are read
        file = data / Path(path).relative_to("data")
        model = file.relative_to(data / "models").parts[0] if "models" in path else ""
        if model in kinds:
            view = RELEASED_VIEWS[kinds[model]]
            write_tiny_checkpoint(kinds[model], data / "models" / model, view=view)
        elif model:
            publish("llava_video/lmms-lab", file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    monkeypatch.setenv("DATA", str(data))
    capsys.readouterr()  # DeepSpeed speaks when transformers makes the first encoder
    assert planned(FOLDER / "table4.yaml", tmp_path, capsys)["absent"] == {}


@pytest.mark.parametrize(
    "name", ["table1", "table3", "table4", "table5", "table6", "table12", "table13"]
)
def test_every_row_of_the_table_that_is_ours_to_run_has_its_cell(name: str) -> None:
    cells = load_cells(FOLDER / f"{name}.yaml").cells
    table = paper_table(name)
    found = {
        row.method for cell in cells for row in [paper_row(table, trained(params(cell)))] if row
    }
    assert found == {row.method for row in table.rows if row.setting}


@pytest.mark.parametrize("name", ["table1", "table3", "table4", "table5"])
def test_published_baselines_have_no_llm_branch(name: str) -> None:
    for cell in load_cells(FOLDER / f"{name}.yaml").cells:
        features = cell.experiment.student_config().object_features
        assert features == ("vision" if cell.experiment.teacher == "none" else "both")


def test_the_published_weights_stand_beside_what_is_trained_here() -> None:
    table, cells = paper_table("table1"), load_cells(FOLDER / "published.yaml").cells
    found = [
        (row.method, cell.experiment.trains(), cell.experiment.prepare.resize)
        for cell in cells
        for row in [paper_row(table, trained(params(cell)))]
        if row
    ]
    assert sorted(found) == [
        ("3DRS", False, "squash"),
        ("3DRS", True, "squash"),
        ("Video-3D LLM", False, "crop"),
        ("Video-3D LLM", True, "squash"),
    ]


def test_the_confound_is_taken_apart() -> None:
    cells = load_cells(FOLDER / "object_branch.yaml").cells
    found = {(c.experiment.student_config().object_features, c.experiment.teacher) for c in cells}
    assert found == {(f, t) for f in ("vision", "both") for t in ("none", "vggt")}


def test_frames_are_combined_in_every_way() -> None:
    cells = [cell.experiment for cell in load_cells(FOLDER / "frames.yaml").cells]
    found = {
        (each.prepare.resize, each.alignment.frames)
        for each in cells
        if each.teacher == "vggt" and each.teachers["vggt"].model_dump()["framing"] == "aspect"
    }
    assert found == {(r, f) for r in ("squash", "crop") for f in ("student", "all_images")}


def test_vsi_bench_sees_no_coordinates_and_learns_the_same_with_and_without_a_teacher() -> None:
    cells = load_cells(FOLDER / "table2.yaml").cells
    assert {(c.experiment.teacher, c.experiment.trains()) for c in cells} == {
        ("none", True),
        ("vggt", True),
        ("none", False),
    }
    for cell in cells:
        assert cell.experiment.benchmarks.trained() == ("spar", "llava_hound")
        assert not cell.experiment.student_config().position_encoding
        assert cell.experiment.benchmarks.split_of("vsibench") == "test"


@pytest.mark.parametrize("table", ["table2", "table5"])
def test_a_preset_from_the_environment_runs_the_table_in_the_micro_world(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRESET", "micro")
    for name in ("GPUS", "GPU"):
        monkeypatch.setenv(name, "0")
    grid = load_cells(FOLDER / f"{table}.yaml", smoke=True)
    assert {cell.experiment.scenes.kind for cell in grid.cells} == {"micro"}
    assert {each.gpus for cell in grid.cells for each in cell.resources.values()} == {0}


@pytest.mark.parametrize("name", COUNTS)
def test_the_gpus_of_every_grid_are_those_of_its_workers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUS", "4")
    for cell in load_cells(FOLDER / f"{name}.yaml").cells:
        assert cell.resources["finetune"].gpus == cell.experiment.training.workers == 4


def test_gpus_that_the_workers_cannot_share_out_are_refused() -> None:
    with pytest.raises(ConfigError) as told:
        load_cells(FOLDER / "table4.yaml", sets=("training.workers=4",))
    (fault,) = told.value.faults
    assert fault.path == "steps.finetune.gpus" and fault.line == 23
    assert "8 GPUs for training.workers: 4" in fault.message
    assert "set training.workers: 8, or gpus: 4" in fault.message


def params(cell: GridCell) -> dict[str, Any]:
    return canonical_experiment(cell.experiment)
