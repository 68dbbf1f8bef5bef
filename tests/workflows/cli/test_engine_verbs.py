"""The verbs that run grids and look after the workspace, through `main`, on fake steps."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.database.events import post
from threedrs_platform.database.outbox import count_open
from threedrs_platform.database.owners import this_owner
from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step
from threedrs_platform.testing.store_contract import corrupt_file
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli import main
from threedrs_workflows.plan import binding, submission

GRID = Path(__file__).parents[3] / "ablations.yaml"


class Desk:
    """A user at a terminal, in an empty folder."""

    def __init__(
        self, capsys: pytest.CaptureFixture[str], bind: Callable[[list[Cell]], None]
    ) -> None:
        self._capsys, self.bind = capsys, bind
        self.out = self.err = ""

    def type(self, *words: str) -> int:
        """Run `workflows WORDS`; returns the exit code."""
        code = main([*words])
        self.out, self.err = self._capsys.readouterr()
        return code

    def submit(self, *words: str) -> int:
        """Submit the bound cells in this process."""
        return self.type("submit", str(GRID), "--smoke", "--ray", "none", "--no-report", *words)

    def json(self, *words: str) -> dict[str, Any]:
        """The one object that `workflows WORDS --json` prints."""
        self.code = self.type(*words, "--json")
        found: dict[str, Any] = json.loads(self.out)
        return found

    def workspace(self) -> Workspace:
        """The workspace of this folder."""
        return find_workspace(environment={})


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THREEDRS_TRACKING", "off")
    for name in ("THREEDRS_WORKSPACE", "THREEDRS_DATABASE_URL", "THREEDRS_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)

    def bind(cells: list[Cell]) -> None:
        monkeypatch.setattr(binding, "bind_cells", lambda grid, files: cells)

    bind(chains(2, 2))
    return Desk(capsys, bind)


GOOD = fake_cell("good", {"measure": fake_step("measure")})
BAD = fake_cell("bad", {"fail": fake_step("fail")})


def test_submit_runs_once_and_then_finds_everything_done(desk: Desk) -> None:
    assert desk.submit() == 0
    assert "done     link" in desk.err and "succeeded" in desk.out
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "none")
    assert answer["schema"] == "workflows.submit/1" and answer["state"] == "succeeded"
    assert answer["steps"] == {"total": 4, "hits": 4, "executed": 0, "reused": 0, "failed": 0}
    assert answer["cells"] == {"total": 2, "succeeded": 2}


@pytest.mark.parametrize(
    ("cells", "code"), [([GOOD], 0), ([GOOD, BAD], 3), ([BAD], 4)], ids=["all", "some", "none"]
)
def test_the_exit_code_says_how_many_cells_succeeded(
    desk: Desk, cells: list[Cell], code: int
) -> None:
    desk.bind(cells)
    assert desk.submit() == code
    assert desk.type("wait") == code


def test_a_failure_is_named_in_the_summary(desk: Desk) -> None:
    desk.bind([BAD])
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "none")
    assert answer["failures"][0]["class"] == "bug"
    assert "this step is broken" in answer["failures"][0]["message"]


def test_a_dry_run_shows_the_plan_and_records_nothing(desk: Desk) -> None:
    assert desk.submit("-n") == 0
    assert "4 of 4 steps to run" in desk.out
    assert desk.workspace().runs.recent() == []


def test_until_runs_a_kind_and_what_it_needs(desk: Desk) -> None:
    early = fake_step("noop", kind="early")
    late = fake_step("measure", kind="late", early=early)
    desk.bind([fake_cell("cell", {"early": early, "late": late})])
    assert desk.submit("--only", "late") == 2
    assert "late reads from steps that are not done: early; `--until late` runs them" in desk.err
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "none", "--until", "early")
    assert answer["steps"]["executed"] == 1
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "none", "--only", "late")
    assert answer["steps"]["executed"] == 1


def test_an_unknown_kind_is_a_usage_error_with_a_suggestion(desk: Desk) -> None:
    assert desk.submit("--until", "lnik") == 2
    assert "did you mean 'link'?" in desk.err


def test_a_refresh_runs_a_step_again(desk: Desk) -> None:
    desk.submit()
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "none", "--refresh", "link@chain-0")
    assert answer["steps"]["executed"] == 2


@pytest.mark.parametrize("jobs", ["0", "-3"])
def test_a_senseless_number_of_jobs_is_a_usage_error(desk: Desk, jobs: str) -> None:
    assert desk.submit("-j", jobs) == 2


def test_retry_tries_failed_steps_again(desk: Desk, tmp_path: Path) -> None:
    desk.bind([GOOD, BAD])
    desk.submit()
    assert desk.type("retry", "--class", "oom") == 0
    assert "no failed steps of class oom" in desk.out
    assert desk.type("retry", "--class", "bug", "--ray", "none", "--no-report") == 3
    assert "started  fail" in desk.err and "measure" not in desk.err


def test_resume_goes_on_with_an_interrupted_run(desk: Desk) -> None:
    with desk.workspace() as workspace:
        plan = submission.plan_cells(workspace, chains(2, 2))
        about = Submission("demo", "", "version: 1", {})
        run = submission.record(workspace, about, plan)
    assert desk.type("wait") == 130
    assert f"workflows resume {run}" in desk.out
    assert desk.type("resume", "--ray", "none", "--no-report") == 0
    assert desk.type("wait", run) == 0


def test_a_run_that_somebody_works_on_is_not_resumed(desk: Desk) -> None:
    desk.submit()
    with desk.workspace() as workspace:
        run = workspace.runs.get("last").id
        workspace.runs.start(run, str(this_owner()), lease_s=60)
        assert desk.type("resume") == 7
        assert desk.type("wait", "--timeout", "0") == 75


def test_cancelling_an_abandoned_run_puts_it_to_rest(desk: Desk) -> None:
    with desk.workspace() as workspace:
        plan = submission.plan_cells(workspace, chains(2, 2))
        run_id = submission.record(workspace, Submission("demo", "", "", {}), plan)
        workspace.runs.start(run_id, "elsewhere|1|x|y", -1.0)  # and was never seen again
        assert desk.type("cancel") == 0
        run = workspace.runs.get("last")
        assert run.state is RunState.CANCELLED
        assert set(workspace.runs.cell_states(run.id).values()) == {StepState.CANCELLED}
        rows = workspace.journal.rows([step.key for step in plan.steps]).values()
        assert {row.state for row in rows} == {StepState.CANCELLED}
    assert desk.type("wait") == 5
    assert desk.submit() == 0


def test_an_unknown_cell_is_not_cancelled(desk: Desk) -> None:
    desk.submit()
    for run in (["last"], ["--run", "last"]):
        assert desk.type("cancel", *run, "chian-1") == 2
        assert "did you mean 'chain-1'?" in desk.err


def test_verify_finds_damage_and_submit_repairs_it(desk: Desk) -> None:
    desk.submit()
    assert desk.type("verify", "--deep") == 0
    with desk.workspace() as workspace:
        digest = next(iter(workspace.store.digests()))
        corrupt_file(workspace.store.checkout(digest) / "out.txt")
    answer = desk.json("verify")
    assert desk.code == 8 and answer["bad"][0]["health"] == "corrupt"
    assert desk.submit() == 0
    assert desk.type("verify", "--deep") == 0


def test_gc_keeps_what_recent_runs_need(desk: Desk) -> None:
    desk.submit()
    desk.bind(chains(1, 1, extra=1))
    desk.submit()
    answer = desk.json("gc", "--keep-runs", "2", "--older-than", "0")
    assert answer["artifacts"] == [] and answer["kept"] == 5
    answer = desk.json("gc", "--keep-runs", "1", "--older-than", "0")
    assert len(answer["artifacts"]) == 4 and not answer["applied"]
    assert desk.type("gc", "--keep-runs", "1", "--older-than", "0", "--apply") == 0
    assert "removed 4 artifacts" in desk.out
    assert desk.type("gc", "--older-than", "soon") == 2


def test_events_are_json_lines_without_gaps(desk: Desk) -> None:
    desk.submit()
    assert desk.type("events") == 0
    lines = [json.loads(line) for line in desk.out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["type"] == "run.finished"


def test_doctor_finds_an_abandoned_run(desk: Desk) -> None:
    with desk.workspace() as workspace:
        plan = submission.plan_cells(workspace, chains(1, 1))
        submission.record(workspace, Submission("demo", "", "", {}), plan)
    answer = desk.json("doctor")
    verdicts = {check["name"]: check["verdict"] for check in answer["checks"]}
    assert desk.code == 0 and verdicts["runs"] == "warning" and verdicts["database"] == "ok"


def test_doctor_misses_artifacts_and_finds_messages_that_nobody_delivers(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace, workspace.database.write() as connection:
        post(connection, workspace.runs.get("last").id, "run.finished", {})
    (tmp_path / ".threedrs" / "artifacts").rename(tmp_path / "unmounted")
    answer = desk.json("doctor")
    told = {check["name"]: (check["verdict"], check["message"]) for check in answer["checks"]}
    assert told["artifacts"][0] == "failed" and "is the store mounted?" in told["artifacts"][1]
    assert told["tracking"][0] == "warning" and "`workflows resume` does" in told["tracking"][1]


def test_off_is_off_for_later_submissions_too(desk: Desk) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace:
        assert count_open(workspace.database) == 0


def test_logs_of_a_moved_workspace_are_found(desk: Desk, tmp_path: Path) -> None:
    desk.bind([fake_cell("loud", {"shout": fake_step("shout")})])
    assert desk.submit() == 0
    (tmp_path / ".threedrs").rename(tmp_path / "moved ?#%20")
    assert desk.type("logs", "last", "shout", "--workspace", "moved ?#%20") == 0
    assert "python" in desk.out and "cannot be read" not in desk.out


def test_an_interrupted_run_is_told_by_its_last_sign_of_life(desk: Desk) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace, workspace.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE runs SET state = 'running', owner = NULL, lease_until = NULL, "
            "finished_at = NULL, created_at = created_at - 10800"
        )
        connection.exec_driver_sql("UPDATE events SET at = at - 3600")
    assert desk.type("status") == 0
    assert re.search(r": interrupted 6\d min ago, after 2 h 0\d min", desk.out), desk.out


def test_logs_hold_what_ranks_printed(desk: Desk, tmp_path: Path) -> None:
    desk.bind([fake_cell("loud", {"shout": fake_step("shout")})])
    assert desk.submit() == 0
    (log,) = (tmp_path / ".threedrs" / "logs").glob("*/*.log")
    for rank in (10, 9):
        log.with_suffix(f".rank-{rank}.log").write_text(f"here is {rank}\n")
    assert desk.type("logs", "last", "shout") == 0
    assert "==> rank 9 <==\nhere is 9\n==> rank 10 <==\nhere is 10" in desk.out


def test_a_clock_that_was_set_back_is_told(desk: Desk) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace, workspace.database.write() as connection:
        connection.exec_driver_sql("UPDATE runs SET finished_at = created_at - 172623")
    assert desk.type("status") == 0
    assert "the clock was set back" in desk.out and "after -" not in desk.out


def test_a_secret_in_an_address_is_never_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    address = "postgresql://me@127.0.0.1:1/db?password=hunter2"
    for verb in ("doctor", "status", "results", "resume", "cancel", "events", "gc"):
        assert desk.type(verb, "--db", address) in (1, 75)
        assert "hunter2" not in desk.out + desk.err and "127.0.0.1" in desk.out + desk.err


def test_a_workspace_that_cannot_be_written_to_is_told(desk: Desk, tmp_path: Path) -> None:
    place = tmp_path / "a file"
    place.write_text("")
    assert desk.submit("--workspace", str(place)) == 75
    assert "is not a folder" in desk.err


def test_a_read_only_workspace_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    assert desk.submit() == 75
    assert "the file system is read-only; choose a writable --workspace" in desk.err


def test_an_unchanged_submission_imports_nothing_heavy(desk: Desk, tmp_path: Path) -> None:
    program = f"""
import sys
from threedrs_platform.testing.fake_cells import chains
from threedrs_workflows.cli import main
from threedrs_workflows.plan import binding
binding.bind_cells = lambda grid, files: chains(2, 2)
code = main(["submit", {str(GRID)!r}, "--smoke", "--no-report", *sys.argv[1:]])
heavy = {{"torch", "ray", "mlflow", "transformers", "deepspeed", "alembic", "boto3"}}
print(code, sorted(heavy & set(sys.modules)))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for flags in (["--ray", "none"], []):
        done = subprocess.run(
            [sys.executable, "-c", program, *flags],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_grid_runs_on_ray(desk: Desk) -> None:
    answer = desk.json("submit", str(GRID), "--smoke", "--ray", "local")
    assert answer["state"] == "succeeded" and answer["steps"]["executed"] == 4
    desk.bind([GOOD, fake_cell("dead", {"die": fake_step("die")})])


def test_resuming_what_is_over_changes_nothing(desk: Desk) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace:
        before = workspace.runs.get("last")
    assert desk.type("resume") == 0
    assert "nothing of it is left to do" in desk.out
    with desk.workspace() as workspace:
        assert workspace.runs.get("last") == before


def test_a_paused_run_starts_nothing_until_it_is_resumed(desk: Desk) -> None:
    with desk.workspace() as workspace:
        plan = submission.plan_cells(workspace, chains(1, 1))
        run = submission.record(workspace, Submission("demo", "demo.yaml", "", {}), plan)
    assert desk.json("pause")["state"] == "paused"
    assert desk.type("wait") == 6
    assert desk.type("status") == 0 and f"go on with: workflows resume {run}" in desk.out
    assert desk.type("work", run) == 6
    assert desk.type("resume", run, "--ray", "none", "--no-report") == 0


def test_work_does_what_is_ready_and_says_how_the_run_ended(desk: Desk) -> None:
    with desk.workspace() as workspace:
        plan = submission.plan_cells(workspace, chains(2, 2))
        run = submission.record(workspace, Submission("demo", "demo.yaml", "", {}), plan)
    assert desk.type("work", run, "--kinds", "lnk") == 2
    assert "did you mean 'link'" in desk.err
    answer = desk.json("work", run)
    assert desk.code == 0 and answer["state"] == "succeeded" and answer["steps"]["done"] == 4


def test_steps_of_a_dead_supervisor_are_unfinished_and_say_what_is_kept(
    desk: Desk, tmp_path: Path
) -> None:
    assert desk.submit() == 0
    with desk.workspace() as workspace, workspace.database.write() as connection:
        for table in ("runs", "steps", "attempts"):
            connection.exec_driver_sql(f"UPDATE {table} SET state = 'running'")
        connection.exec_driver_sql("UPDATE runs SET owner = NULL, finished_at = NULL")
    note = {"kind": "progress", "done": 340, "total": 600, "note": "kept to step 300"}
    for log in (tmp_path / ".threedrs" / "logs").glob("*/*.log"):
        log.with_suffix(".jsonl").write_text(json.dumps(note) + "\n")
    assert desk.type("status") == 0
    assert ": at 340 of 600, kept to step 300" in desk.out
    assert " running" not in desk.out
    answer = desk.json("status")
    assert answer["running"] == [] and answer["stopped"][0]["done"] == 340
    assert "running" not in answer["steps"]
