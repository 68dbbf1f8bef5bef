from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from threedrs_workflows.cli import main

GRID = """
version: 1
name: test
base: {preset: micro}
seeds: [1, 2]
ablate: {factors: {teacher: [vggt]}}
include: [{label: baseline}]
"""


@pytest.fixture
def grid(tmp_path: Path) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return str(path)


@pytest.fixture
def workspace(tmp_path: Path) -> list[str]:
    return ["--workspace", str(tmp_path / "workspace")]


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["plan", *arguments, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_shared_steps_are_planned_once(
    grid: str, workspace: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    content = planned([grid, *workspace], capsys)
    steps = [(step["kind"], step["label"], step["cells"]) for step in content["steps"]]
    assert steps.count(("scenes", "student", 4)) == 1
    assert steps.count(("extract", "vggt", 2)) == 1
    assert len([step for step in steps if step[0] == "finetune"]) == 4
    assert content["misses"] == len(content["steps"])
    assert {len(step["key"]) for step in content["steps"]} == {64}


def test_keys_do_not_depend_on_labels_names_or_resources(
    grid: str, tmp_path: Path, workspace: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    text = GRID.replace("label: baseline", "label: floor").replace("name: test", "name: another")
    other.write_text(text + "steps: {finetune: {cpus: 2}}\n")
    keys = [
        [step["key"] for step in planned([file, *workspace], capsys)["steps"]]
        for file in (grid, str(other))
    ]
    assert keys[0] == keys[1]


def test_plan_for_people_counts_and_gives_reasons(
    grid: str, workspace: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", grid, *workspace]) == 0
    page = capsys.readouterr().out
    assert "test: 2 cells x seeds 1, 2" in page
    assert "steps to run, 0 done: time unknown" in page
    (row,) = [line for line in page.splitlines() if line.split()[:1] == ["finetune"]]
    assert row.split() == ["finetune", "run", "4", "x1", "?", "new"]


def test_check_tells_by_exit_code_that_there_is_work(grid: str, workspace: list[str]) -> None:
    assert main(["plan", grid, *workspace, "--check"]) == 10


def test_explain_shows_what_a_key_is_made_of(
    grid: str, workspace: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    content = planned([grid, *workspace, "--explain", "finetune@baseline"], capsys)
    assert [step["params"]["seed"] for step in content["steps"]] == [1, 2]
    assert "scenes" in content["steps"][0]["inputs"]
    assert main(["plan", grid, *workspace, "--explain", "extract@teacher=vggt"]) == 0
    assert "input    teacher" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("finetun@baseline", "baseline has no step 'finetun'; did you mean 'finetune'?"),
        ("finetune@basline", "no cell 'basline'; did you mean 'baseline'?"),
        ("extract@baseline", "baseline has no step 'extract'"),
    ],
)
def test_explain_of_nothing_is_refused(
    target: str,
    part: str,
    grid: str,
    workspace: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", grid, *workspace, "--explain", target]) == 2
    assert part in capsys.readouterr().err


def test_diff_lists_cells_that_came_and_went(
    grid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(GRID.replace("vggt", "mae").replace("[1, 2]", "[1]"))
    content = planned([grid, "--diff", str(old)], capsys)
    assert [cell["name"] for cell in content["added"]] == ["teacher=vggt"]
    assert [cell["name"] for cell in content["removed"]] == ["teacher=mae"]
    assert (content["seeds_added"], content["seeds_removed"]) == ([2], [])
    assert main(["plan", grid, "--diff", str(old), "--check"]) == 10
    assert main(["plan", grid, "--diff", grid, "--check"]) == 0
    assert "2 cells stay" in capsys.readouterr().out


def test_a_plan_needs_neither_torch_nor_ray(grid: str, workspace: list[str]) -> None:
    code = (
        "import sys\n"
        "from threedrs_workflows.cli import main\n"
        f"assert main(['plan', {grid!r}, *{workspace!r}]) == 0\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'scipy'}\n"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
