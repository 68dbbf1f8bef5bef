"""What `plan` says a grid will cost, without data, weights or GPUs."""

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_workflows.cli import main

GRIDS = Path(__file__).resolve().parents[3] / "workflows/grids"
Capture = pytest.CaptureFixture[str]


def plan(capsys: Capture, folder: Path, grid: Path, *flags: str) -> dict[str, Any]:
    workspace = ["--workspace", str(folder / "workspace")]
    assert main(["plan", str(grid), *workspace, *flags, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def text(capsys: Capture, folder: Path, grid: Path, *flags: str) -> str:
    assert main(["plan", str(grid), "--workspace", str(folder / "workspace"), *flags]) == 0
    return capsys.readouterr().out


def test_table4_tells_data_memory_bytes_and_hours(tmp_path: Path, capsys: Capture) -> None:
    cost = plan(capsys, tmp_path, GRIDS / "table4.yaml")["cost"]
    by_title = {cell["title"]: cell for cell in cost["cells"]}
    vggt, baseline = by_title["teacher=vggt"], by_title["baseline"]
    assert vggt["samples"] == 223_128 and vggt["epochs"] == pytest.approx(1, abs=1e-3)
    assert vggt["data"]["trained"][0]["source"] == "published counts"
    heads = 51_412_480 + 40_379_392  # grounding and alignment
    assert vggt["parameters"] == pytest.approx(8.03e9 + heads, rel=1e-3)
    assert vggt["parameters"] - baseline["parameters"] == 40_379_392
    assert vggt["memory"]["deepspeed_zero3"] < 40e9 < vggt["memory"]["deepspeed_zero1"]
    assert vggt["feature_bytes"] == 703 * 32 * 196 * 2048 * 2 and not baseline["feature_bytes"]
    assert vggt["tokens"] == 223_104 * (14 + 6720 + 60 + 6)
    assert cost["gpu_hours"] == pytest.approx(sum(c["gpu_hours"] for c in cost["cells"]))
    assert cost["marginal"]["teacher"]["vggt"] == pytest.approx(vggt["gpu_hours"])


def test_a_grid_that_trains_two_epochs_by_accident_is_seen(tmp_path: Path, capsys: Capture) -> None:
    accident = ("--set", "benchmarks.training=[scanqa,sqa3d]")
    told = text(capsys, tmp_path, GRIDS / "table4.yaml", *accident)
    assert "2.11 epochs: 13,944 steps of 16 of 105,960 samples" in told
    for name in ("table2", "table4"):
        assert "epochs:" not in text(capsys, tmp_path, GRIDS / f"{name}.yaml")


@pytest.mark.parametrize("name", ["table2", "table3", "table4", "table12"])
def test_what_it_costs_fits_into_100_columns(name: str, tmp_path: Path, capsys: Capture) -> None:
    told = text(capsys, tmp_path, GRIDS / f"{name}.yaml")
    about = told[told.index("cost, before") : told.index("files or folders that the grid")]
    assert max(map(len, about.splitlines())) <= 100


def test_long_names_of_cells_can_be_told_apart(tmp_path: Path, capsys: Capture) -> None:
    told = text(capsys, tmp_path, GRIDS / "arms.yaml")
    assert all(f"  fusion and...illation {each}D " in told for each in "23")


def test_money_is_hours_times_a_price_that_is_in_no_key(tmp_path: Path, capsys: Capture) -> None:
    original = (GRIDS / "table4.yaml").read_text()
    priced = tmp_path / "priced.yaml"
    priced.write_text(original + "price: {gpu_hour: 2.5, currency: EUR}\nbudget: {gpu_hours: 9}\n")
    before = plan(capsys, tmp_path, GRIDS / "table4.yaml")
    after = plan(capsys, tmp_path, priced)
    assert [step["key"] for step in after["steps"]] == [step["key"] for step in before["steps"]]
    assert after["digest"] == before["digest"]
    assert after["cost"]["price"] == pytest.approx(2.5 * before["cost"]["gpu_hours"])
    assert "EUR" in text(capsys, tmp_path, priced)
    assert "NOT enough" in text(capsys, tmp_path, priced)


def test_slower_gpus_take_longer(tmp_path: Path, capsys: Capture) -> None:
    grid = GRIDS / "table2.yaml"
    one = plan(capsys, tmp_path, grid)["cost"]["gpu_hours"]
    half = plan(capsys, tmp_path, grid, "--peak-tflops", "494.5")["cost"]["gpu_hours"]
    assert half == pytest.approx(2 * one)


def test_unknown_costs_are_named(tmp_path: Path, capsys: Capture) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("version: 1\nname: small\nbase: {preset: micro, teacher: vggt}\nseeds: [1]\n")
    told = text(capsys, tmp_path, grid)
    assert "trains on ? samples" in told and "not known: base: how many samples" in told


def test_seeds_for_half_a_point(tmp_path: Path, capsys: Capture) -> None:
    grid = GRIDS / "table2.yaml"
    told = plan(capsys, tmp_path, grid, "--power", "0.5", "--spread", "0.5")["power"]
    assert told["metrics"][0]["seeds"] == 10 and told["metrics"][0]["power"] is None
    assert "nobody knows" in text(capsys, tmp_path, grid, "--power")


def test_adapters_save_a_third_of_the_arithmetic_and_most_of_the_memory(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan(capsys, tmp_path, GRIDS / "table4.yaml")["cost"]["cells"][0]
    monkeypatch.setenv("PRESET", "one_gpu_24g")
    monkeypatch.setenv("GPUS", "1")
    small = plan(capsys, tmp_path, GRIDS / "table4.yaml")["cost"]["cells"][0]
    assert 0.55 < small["training_flops"] / whole["training_flops"] < 0.7
    assert small["memory"]["single"] < 24e9 < whole["memory"]["deepspeed_zero2"]


def test_weights_that_are_only_evaluated_cost_hours_and_no_training(
    tmp_path: Path, capsys: Capture
) -> None:
    cells = plan(capsys, tmp_path, GRIDS / "published.yaml")["cost"]["cells"]
    untrained = [cell for cell in cells if not cell["steps"]]
    assert len(cells) == 4 and len(untrained) == 2
    for cell in untrained:
        assert not cell["memory"] and not cell["warnings"] and cell["gpu_hours"] > 0
    assert "none" in text(capsys, tmp_path, GRIDS / "published.yaml")
