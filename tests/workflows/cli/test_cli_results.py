"""status, logs, results, compare, trace: what they print for a run of four cells."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import open_database
from threedrs_platform.database.events import Event, append_events, post
from threedrs_platform.database.measurements import RunResults
from threedrs_platform.database.owners import this_owner
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import Values, fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main

POSITION = "scanrefer/acc@0.25/position"
GRID = f"""\
version: 1
name: study
base: {{}}
report:
  metrics: ["{POSITION}"]
  compare_to: baseline
"""
Run = Callable[..., tuple[int, str, str]]


def study() -> RunResults:
    def numbers(position: float) -> dict[str, float | Metric]:
        return {
            POSITION: Metric(POSITION, position, 30, chance=17.4),
            "probe/score": Metric("probe/score", position / 100, 30, unit="cosine"),
        }

    values: Values = {
        "baseline": {1: numbers(24.0), 2: numbers(23.0)},
        "vggt": {1: numbers(50.0), 2: numbers(51.0)},
        "mae": {1: numbers(30.0), 2: {}},
        "late": {1: {}, 2: {}},
    }
    failures = {
        ("mae", 2): (StepState.FAILED, "CUDA out of memory\nTraceback"),
        ("late", 1): (StepState.RUNNING, ""),
        ("late", 2): (StepState.PENDING, ""),
    }
    params = {
        "baseline": {"teacher": "none", "training": {"steps": 350}},
        "vggt": {"teacher": "vggt", "training": {"steps": 350}},
        "mae": {"teacher": "mae", "training": {"steps": 350}},
    }
    return fake_results(values, params, failures)


def per_scene() -> dict[str, list[SampleScore]]:
    """The teacher answers everything, the baseline every fourth."""
    found = {}
    for cell, hits in (("baseline", 4), ("vggt", 1)):
        for seed in (1, 2):
            found[f"key-{cell}-{seed}"] = [
                SampleScore(POSITION, f"q{index}", f"room{index}", 100.0 * (index % hits == 0))
                for index in range(30)
            ]
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    database = open_database(sqlite_url(tmp_path / "results.db"))
    store_run(database, study(), per_scene(), grid_yaml=GRID, logs=tmp_path / "logs")
    progress = {"kind": "progress", "done": 120, "total": 350, "note": "loss 0.41"}
    live = tmp_path / "logs" / "key-late-1" / "1.jsonl"
    live.write_text(json.dumps(progress) + "\n", encoding="utf-8")
    with database.write() as connection:
        append_events(connection, "run-1", [Event("step.failed", "key-mae-2", {"failure": "oom"})])
        post(connection, "run-1", "run.finished", {})
    database.close()
    return tmp_path


@pytest.fixture
def run(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--workspace", str(workspace)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_run_without_the_baseline_of_its_grid_has_a_table_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values: Values = {"vggt": {1: {POSITION: 50.0}}, "mae": {1: {POSITION: 30.0}}}
    database = open_database(sqlite_url(tmp_path / "results.db"))
    store_run(database, fake_results(values), {}, grid_yaml=GRID)
    database.close()
    for more in ((), ("--where", "label == 'mae'")):
        assert main(["results", "--workspace", str(tmp_path), *more]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "30.0" in told and "baseline, to which the grid compares, is not in this run" in told
    assert main(["compare", "--workspace", str(tmp_path), "vggt", "mae"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("NOT THE GRID'S BASELINE: baseline") and "stands in for it" in told
    assert main(["results", "--workspace", str(tmp_path), "--baseline", "baseline"]) == 2
    assert "no cell is called 'baseline'" in capsys.readouterr().err


def test_results_beside_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = {
        "student": "llava",
        "students": {"llava": {"kind": "llava_video"}},
        "teachers": {"vggt": {"kind": "vggt"}},
    }
    values: Values = {"baseline": {1: {"scanrefer/acc@0.25": 40.0}}, "vggt": {1: {}}}
    cells = {"baseline": {**params, "teacher": "none"}, "vggt": {**params, "teacher": "vggt"}}
    database = open_database(sqlite_url(tmp_path / "results.db"))
    store_run(database, fake_results(values, cells), {}, grid_yaml=GRID)
    database.close()

    def told(*arguments: str) -> tuple[int, str, str]:
        code = main(["results", "--workspace", str(tmp_path), *arguments])
        return code, *capsys.readouterr()

    code, text, _ = told("--compare", "paper:table1", "--metric", "scanrefer/*")
    lines = [line.split() for line in text.splitlines()]
    assert code == 0 and ["ours:", "baseline", "40.0", "-"] in lines
    assert ["paper:", "3DRS", "62.9", "56.1"] in lines
    code, text, _ = told("--compare", "paper", "--json")
    content = json.loads(text)
    assert (content["schema"], content["run"]) == ("workflows.results/1", {"id": "run-1"})
    assert content["tables"][0]["rows"][0]["metrics"]["scanrefer/acc@0.25"]["paper"]["value"]
    out = tmp_path / "beside.md"
    assert told("--compare", "paper", "--format", "md", "--out", str(out))[0] == 0
    assert out.read_text().startswith("**Table 1 of the paper")
    for arguments, fault in (
        (("--compare", "papr"), "expected paper or paper:tableN"),
        (("--compare", "paper:table44"), "no table 'table44' in the paper"),
        (("--compare", "paper", "--format", "csv"), "csv cannot hold two sides"),
    ):
        code, _, error = told(*arguments)
        assert code == 2 and fault in error


def loaded(text: str, schema: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    assert content["schema"] == schema
    return content


def test_status_counts_and_names_what_failed(run: Run) -> None:
    code, text, _ = run("status")
    assert code == 0
    assert "cells: 5 of 8 done" in text
    assert "finetune of mae seed 2 (oom): CUDA out of memory" in text
    assert "120/350" in text and "loss 0.41" in text
    assert "workflows logs run-1 key-mae-2" in text


def test_status_json_holds_the_same(run: Run) -> None:
    content = loaded(run("status", "--json")[1], "workflows.status/1")
    assert content["cells"] == {"pending": 1, "running": 1, "succeeded": 5, "failed": 1}
    assert content["failed"][0]["message"].startswith("CUDA out of memory")
    assert content["running"][0]["done"] == 120
    assert content["untracked"] == 1


def test_runs_are_listed(run: Run) -> None:
    assert "run-1" in run("status", "--list")[1]


def test_an_unknown_run_is_a_usage_error_with_a_hint(run: Run) -> None:
    code, out, err = run("status", "stdy")
    assert (code, out) == (2, "")
    assert "did you mean 'study'" in err


def test_results_follow_the_grids_choice_of_metrics(run: Run) -> None:
    code, text, _ = run("results")
    assert code == 0
    assert POSITION in text
    assert "probe/score" not in text.split("The paper's claims")[0]
    assert "missing (running, pending)" in text
    assert "mae, seed 2: failed: finetune: CUDA out of memory" in text


def test_results_show_any_metric_asked_for(run: Run) -> None:
    assert "probe/score" in run("results", "--metric", "*")[1]
    code, _, err = run("results", "--metric", "nonsense")
    assert code == 2 and "no metric matches 'nonsense'" in err


def test_results_of_some_cells_keep_the_baseline(run: Run) -> None:
    content = loaded(
        run("results", "--where", "teacher == 'vggt'", "--json")[1], "workflows.results/1"
    )
    assert [cell["cell"] for cell in content["cells"]] == ["baseline", "vggt"]
    code, _, err = run("results", "--where", "teacher == 'x'")
    assert code == 2
    assert "holds for none of the cells; here teacher is 'none' or 'vggt' or 'mae'" in err


def test_results_test_over_scenes_too(run: Run) -> None:
    content = loaded(run("results", "--json")[1], "workflows.results/1")
    vggt = next(each for each in content["differences"] if each["cell_id"] == "id-vggt")
    assert vggt["over_scenes"]["scenes"] == 30
    assert vggt["over_scenes"]["p_holm"] < 0.01


def test_results_are_written_to_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.tex"
    code, out, _ = run("results", "--format", "latex", "--out", str(file))
    assert (code, out) == (0, "")
    assert r"\begin{tabular}" in file.read_text(encoding="utf-8")
    code, _, err = run("results", "--out", str(tmp_path / "no" / "table.txt"))
    assert code == 75 and "No such file" in err


def test_compare_two_cells_shows_tests_and_settings(run: Run) -> None:
    code, text, _ = run("compare", "baseline", "vggt")
    assert code == 0
    assert "vggt minus baseline" in text
    assert "+27.0" in text
    row = next(line for line in text.splitlines() if line.split()[:1] == ["teacher"])
    assert row.split() == ["teacher", "none", "vggt"]
    assert "training.steps" not in text


def test_compare_json_has_values_per_seed(run: Run) -> None:
    content = loaded(run("compare", "baseline", "mae", "--json")[1], "workflows.compare/1")
    assert content["first"]["metrics"][POSITION]["values"] == {"1": 24.0, "2": 23.0}
    assert content["params"] == {"teacher": ["none", "mae"]}
    (position,) = content["differences"]
    assert position["over_seeds"]["seeds"] == [1]
    assert position["verdict"] == "one seed cannot show more"


def test_compare_an_unknown_cell_suggests_one(run: Run) -> None:
    code, _, err = run("compare", "baseline", "vgt")
    assert code == 2 and "did you mean 'vggt'" in err


def test_compare_two_runs_cell_by_cell(run: Run, workspace: Path) -> None:
    database = open_database(sqlite_url(workspace / "results.db"))
    again = fake_results({"vggt": {1: {POSITION: 60.0}}, "new": {1: {POSITION: 1.0}}}, name="again")
    with database.write() as connection:
        for table in ("cells", "cell_steps", "runs"):
            column = "id" if table == "runs" else "run_id"
            connection.exec_driver_sql(f"UPDATE {table} SET {column} = 'run-0'")
        for table in ("steps.key", "cell_steps.step_key", "metrics.step_key"):
            name, column = table.split(".")
            connection.exec_driver_sql(f"UPDATE {name} SET {column} = 'old-' || {column}")
    store_run(database, again)
    database.close()
    content = loaded(run("compare", "run-0", "run-1", "--json")[1], "workflows.compare/1")
    (vggt,) = content["cells"]
    assert vggt["differences"][0]["over_seeds"]["difference"] == 10.0
    assert content["only_first"] == ["baseline", "mae", "late"]
    assert content["only_second"] == ["new"]
    assert "only in run-1: new" in run("compare", "run-0", "run-1")[1]


def test_trace_leads_from_a_number_to_step_code_and_attempt(run: Run) -> None:
    code, text, _ = run("trace", f"vggt:{POSITION}", "--seed", "2")
    assert code == 0
    assert f"vggt seed 2 (id-vggt): {POSITION} = 51 %, n 30" in text
    assert "code code-of-fine" in text
    assert re.search(r"attempt 1 committed \S+ \S+ in 9\.0 s on laptop \(run run-1\), its", text)
    assert "seed 1" not in text


def test_trace_tells_grid_flags_commit_date_and_settings(run: Run, tmp_path: Path) -> None:
    options = {"smoke": True, "sets": ["seeds=1,2", "teacher=mae"], "commit": "c0ffee"}
    with contextlib.closing(sqlite3.connect(next(tmp_path.rglob("results.db")))) as base, base:
        base.execute("UPDATE runs SET options_json = ?", [json.dumps(options)])
    _, text, _ = run("trace", "vggt", "--seed", "2")
    assert text.startswith("run run-1, submitted ")
    assert " --smoke --set seeds=1,2 --set teacher=mae   commit c0ffee" in text
    content = loaded(run("trace", "vggt", "--json")[1], "workflows.trace/1")
    assert content["commit"] == "c0ffee" and content["flags"]["sets"] == options["sets"]
    assert content["created_at"] == 0.0 and content["grid_yaml"] == GRID
    (name, value), *_ = content["traces"][0]["varying"].items()
    assert f"  settings {name}={value}" in text


def test_trace_of_a_missing_number_says_why(run: Run) -> None:
    content = loaded(run("trace", f"mae:{POSITION}", "--json")[1], "workflows.trace/1")
    first, second = content["traces"]
    assert first["measured_by"] == "key-mae-1"
    assert second["missing"] == "failed: finetune: CUDA out of memory"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("vggt:probe/scor",), "did you mean 'probe/score'"),
        (("vgt",), "did you mean 'vggt'"),
        (("vggt", "--seed", "7"), "known: 1, 2"),
    ],
)
def test_trace_refuses_what_is_not_there(run: Run, arguments: tuple[str, ...], hint: str) -> None:
    code, _, err = run("trace", *arguments)
    assert code == 2 and hint in err


def test_logs_show_events_by_default(run: Run) -> None:
    assert "step.failed key-mae-2 failure=oom" in run("logs")[1]
    content = loaded(run("logs", "--json")[1], "workflows.logs/1")
    assert content["events"][0]["seq"] == 1


def test_logs_of_a_step_of_a_cell_show_each_seed(run: Run) -> None:
    text = run("logs", "finetune@vggt")[1]
    assert "==> finetune key-vggt-1 of vggt seed 1, attempt 1 committed <==" in text
    assert "output of key-vggt-2" in text


def test_logs_of_one_key_print_the_log_alone(run: Run) -> None:
    assert run("logs", "run-1", "key-mae-2")[1] == "output of key-mae-2\n"


def test_a_finished_attempt_is_followed_to_its_end(run: Run) -> None:
    assert run("logs", "run-1", "key-vggt-1", "-f")[1] == "output of key-vggt-1\n"


def test_following_ends_when_the_supervisor_is_gone(run: Run, workspace: Path) -> None:
    gone = replace(this_owner(), started="long ago")
    with (
        find_workspace(str(workspace), environment={}) as found,
        found.database.write() as connection,
    ):
        lease = {"owner": str(gone), "lease_until": 4e9}
        connection.execute(update(schema.runs).values(state="running", **lease))
    code, text, _ = run("logs", "run-1", "-f")
    assert code == 0 and "step.failed" in text


def test_a_log_on_another_machine_is_named(run: Run, workspace: Path) -> None:
    (workspace / "logs" / "key-vggt-1" / "1.log").unlink()
    text = run("logs", "run-1", "key-vggt-1")[1]
    assert "cannot be read" in text and "on laptop" in text


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("nosuch",), "no run is called 'nosuch'"),
        (("run-1", "finetun"), "did you mean 'finetune'"),
        (("run-1", "key-vggt-1", "--attempt", "3"), "has no attempt 3; known: 1"),
        (("run-1", "finetune", "-f"), "follow one of"),
    ],
)
def test_logs_refuse_what_is_not_there(run: Run, arguments: tuple[str, ...], hint: str) -> None:
    code, _, err = run("logs", *arguments)
    assert code == 2 and hint in err


@pytest.mark.parametrize("verb", ["status", "results"])
def test_reading_verbs_stay_light(workspace: Path, verb: str) -> None:
    """No heavy package is imported; half a CPU-second is the aim, a loaded machine gets more."""
    script = (
        "import sys, time; from threedrs_workflows.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'ray', 'mlflow', 'scipy', 'transformers'} & set(sys.modules);"
        "print(sorted(heavy), time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, verb, "--workspace", str(workspace)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    heavy, seconds = done.stderr.strip().rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 3


def test_results_import_nothing_that_their_table_does_not_need(workspace: Path) -> None:
    program = f"""
import sys
from threedrs_workflows.cli import main
code = main(["results", "--workspace", {str(workspace)!r}])
heavy = {{"torch", "ray", "mlflow", "transformers", "scipy", "rich", "alembic", "boto3"}}
heavy |= {{"threedrs_workflows.experiment", "threedrs_workflows.grid.file"}}
heavy |= {{"threedrs_components.benchmarks.registry", "threedrs_components.scenes.registry"}}
print(code, sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("verb", ["status", "results", "events", "wait"])
def test_the_run_is_named_alike_by_every_verb(verb: str, run: Run) -> None:
    code, page, _ = run(verb, "run-1", "-q")
    same = run(verb, "--run", "run-1", "-q")
    assert (same[0], same[1].partition("\n")[0]) == (code, page.partition("\n")[0])
    code, _, told = run(verb, "--run", "run-7")
    assert code == 2 and "no run is called 'run-7'" in told


def test_where_the_run_is_named_by_its_flag_the_rest_is_of_it(run: Run) -> None:
    assert run("logs", "--run", "run-1", "-q")[0] == 0
    code, _, told = run("logs", "--run", "run-1", "nothing", "more")
    assert code == 2 and "one step at a time" in told


@pytest.mark.parametrize("names", [("vgt", "mae"), ("vgt", "vggg"), ("teacher", "mae")])
def test_compare_takes_a_misspelt_cell_for_no_run(run: Run, names: tuple[str, str]) -> None:
    code, _, told = run("compare", *names)
    assert code == 2 and f"run run-1 has no cell {names[0]!r}" in told
