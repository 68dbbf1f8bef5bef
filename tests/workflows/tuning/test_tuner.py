"""What a tuning run asks, tells, gives up, and how it goes on after it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from threedrs_platform.database.owners import this_owner
from threedrs_platform.database.runs import Submission
from threedrs_platform.database.trials import StudyView
from threedrs_platform.errors import ConfigError, ConflictError
from threedrs_platform.states import RunState, StepState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.plan.submission import replan
from threedrs_workflows.testing.fake_training import POINTS
from threedrs_workflows.testing.tuning_worker import FakeTrials, session_of
from threedrs_workflows.tuning.arm_study import ArmStudy
from threedrs_workflows.tuning.session import Session, TrainingCounts, count_trainings
from threedrs_workflows.tuning.trial_cells import TrialCells

pytestmark = pytest.mark.whole

Tune = Callable[..., tuple[Session, list[StudyView]]]
Write = Callable[..., Path]


def begun(ledger: Path) -> Counter[str]:
    """How often each cell and seed began from the start."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return Counter(f"{cell}/{seed}" for cell, seed in map(json.loads, lines))


def processes(
    count: int, workspace: Workspace, path: Path, ledger: Path, seconds: float
) -> list[subprocess.Popen[bytes]]:
    """Tuning workers that begin together."""
    command = [sys.executable, "-m", "threedrs_workflows.testing.tuning_worker"]
    command += [str(workspace.root), str(path), str(ledger), str(seconds)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(count)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        process.stdout.close()
    return started


def test_every_trial_of_the_budget_is_a_cell_and_runs_once(
    tune: Tune, write: Write, workspace: Workspace, ledger: Path
) -> None:
    session, (outcome,) = tune(write(trials=6))
    assert [row.number for row in outcome.trials] == list(range(6))
    assert outcome.counts == {"complete": 6}
    assert set(begun(ledger).values()) == {1}
    states = workspace.runs.cell_states(session.run_id)
    assert {cell.cell_id for cell in states} == {row.cell_id for row in outcome.trials}
    assert set(states.values()) == {StepState.SUCCEEDED}


def test_the_first_trial_is_the_base_and_the_best_is_the_highest(tune: Tune, write: Write) -> None:
    _, (outcome,) = tune(write(trials=6))
    first = outcome.trials[0]
    assert first.params == {"alignment.weight": 3.0, "alignment.layers": [-1]}
    assert outcome.best[0].values[0] == max(row.values[0] for row in outcome.trials)
    assert outcome.trials[0].measured == {"scanqa/em@1": pytest.approx(50 + 10 * 1.585, abs=0.01)}


def test_a_larger_budget_goes_on_and_repeats_nothing(
    tune: Tune, write: Write, ledger: Path
) -> None:
    first, _ = tune(write(trials=3))
    before = begun(ledger)
    again, (outcome,) = tune(write(trials=5))
    assert again.run_id == first.run_id and again.is_resumed
    assert len(outcome.trials) == 5
    assert set(begun(ledger).values()) == {1} and len(begun(ledger)) == len(before) + 2


def test_another_search_is_another_study(tune: Tune, write: Write) -> None:
    first, _ = tune(write(trials=1))
    other, (outcome,) = tune(write(trials=1, held_out=0.3))
    assert other.run_id != first.run_id and len(outcome.trials) == 1


def test_a_value_is_the_mean_over_seeds(tune: Tune, write: Write, ledger: Path) -> None:
    _, (one,) = tune(write(trials=1, seeds=[0]))
    _, (three,) = tune(write(trials=1, seeds=[0, 1, 5]))
    assert three.trials[0].values[0] == pytest.approx(one.trials[0].values[0] + 2)


def test_every_arm_gets_the_same_budget_and_starts_at_its_own_base(
    tune: Tune, write: Write
) -> None:
    path = write(trials=3, arms=["teacher"], sections={"ablate": {"factors": {"teacher": ["mae"]}}})
    _, outcomes = tune(path)
    assert [outcome.facts.arm for outcome in outcomes] == [{"teacher": "vggt"}, {"teacher": "mae"}]
    assert [len(outcome.trials) for outcome in outcomes] == [3, 3]
    facts = {(o.facts.trials, o.facts.seeds, o.facts.training_steps) for o in outcomes}
    assert len(facts) == 1


def test_a_trial_without_promise_is_given_up(tune: Tune, write: Write) -> None:
    space = {"alignment.weight": {"categorical": [2.0, 2.1, 9.0, 9.5, 9.9, 10.0]}}
    path = write(space=space, sampler="grid", pruner="median", startup_trials=2, parallel=1)
    _, (outcome,) = tune(path, seconds=0.3)
    pruned = [row for row in outcome.trials if row.state == "pruned"]
    assert pruned and outcome.counts["complete"] + len(pruned) == 6
    assert all(row.params["alignment.weight"] > 2.1 for row in pruned)
    assert all("validation/loss" in row.reason and not row.values for row in pruned)
    assert max(pruned[0].intermediate) < POINTS
    assert all(value < 0 for value in pruned[0].intermediate.values())  # the loss, turned round


def test_a_trial_at_its_last_step_is_not_given_up(tune: Tune, write: Write) -> None:
    space = {"alignment.weight": {"categorical": [2.0, 2.1, 9.0, 9.5, 9.9, 10.0]}}
    path = write(
        base={"training.steps": 1},
        space=space, sampler="grid", pruner="median", startup_trials=2, parallel=1,
    )  # fmt: skip
    _, (outcome,) = tune(path)
    assert outcome.counts == {"complete": 6}


def test_hyperband_gives_trials_up_too(tune: Tune, write: Write) -> None:
    space = {"alignment.weight": {"categorical": [2.0, 9.0, 9.5, 10.0, 8.0, 8.5]}}
    path = write(
        base={"training.validate_every": 1, "held_out": 0.2},
        space=space, sampler="grid", pruner="hyperband", parallel=1,
    )  # fmt: skip
    _, (outcome,) = tune(path, seconds=0.3)
    assert outcome.counts.get("pruned", 0) > 0


def test_several_metrics_give_a_pareto_front(tune: Tune, write: Write) -> None:
    metrics = ["scanrefer/acc@0.25", "scanqa/em@1"]
    _, (outcome,) = tune(write(metric=metrics, trials=6))
    assert len(outcome.best) > 1
    grounding = [row.values[0] for row in sorted(outcome.best, key=lambda row: row.values[0])]
    answering = [row.values[1] for row in sorted(outcome.best, key=lambda row: row.values[0])]
    assert grounding == sorted(grounding) and answering == sorted(answering, reverse=True)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "gp", "grid"])
def test_every_sampler_spends_its_budget(tune: Tune, write: Write, sampler: str) -> None:
    space = {
        "alignment.weight": {"float": [0.5, 8.0], "step": 0.5},
        "training.scenes_per_step": {"int": [2, 8], "step": 2},
    }
    _, (outcome,) = tune(write(space=space, sampler=sampler, trials=5, startup_trials=2))
    assert outcome.counts == {"complete": 5}
    points = {tuple(row.params.values()) for row in outcome.trials}
    assert len(points) == 5 or sampler == "cmaes"


def test_a_grid_ends_with_its_last_point(tune: Tune, write: Write) -> None:
    space = {"alignment.layers": {"categorical": [[-1], [1], [2]]}}
    _, (outcome,) = tune(write(space=space, sampler="grid", trials=16))
    assert sorted(row.params["alignment.layers"] for row in outcome.trials) == [[-1], [1], [2]]


def test_trials_that_fail_one_after_another_end_the_tuning(
    tune: Tune, write: Write, ledger: Path
) -> None:
    space = {"alignment.weight": {"float": [60.0, 70.0]}}
    session, (outcome,) = tune(write(space=space, trials=6, parallel=1))
    assert outcome.counts == {"fail": 3} and not outcome.best
    assert "these settings are broken" in outcome.trials[0].reason
    assert "the last 3 trials failed" in session.tuner.stopped


def test_a_metric_that_nothing_measures_is_refused_with_the_nearest(
    tune: Tune, write: Write
) -> None:
    with pytest.raises(ConfigError, match=r"grid.yaml:.*did you mean 'scanrefer/acc@0.25'"):
        tune(write(metric="scanrefer/acc@0.26", trials=1))


def test_processes_that_tune_the_same_share_one_budget(
    write: Write, tune: Tune, workspace: Workspace, ledger: Path
) -> None:
    path = write(trials=6)
    together = processes(3, workspace, path, ledger, 0.3)
    assert [process.wait(60) for process in together] == [0, 0, 0]
    _, (outcome,) = tune(path, seconds=0.3)  # finds nothing left to do
    assert [row.number for row in outcome.trials] == list(range(6))
    assert outcome.counts == {"complete": 6}
    assert len({row.run_id for row in outcome.trials}) > 1, "several had trials"
    for row in outcome.trials:
        assert row.cell_id in {each.cell_id for each in workspace.runs.cell_states(row.run_id)}
    assert set(begun(ledger).values()) == {1}


def test_what_a_killed_partner_left_is_gone_on_with_by_the_other(
    write: Write, workspace: Workspace, ledger: Path, tune: Tune
) -> None:
    path = write(trials=6, parallel=1)
    first, second = processes(2, workspace, path, ledger, 0.5)
    end = time.monotonic() + 60
    while len(begun(ledger)) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    first.kill()
    assert first.wait() and second.wait(60) == 0
    _, (outcome,) = tune(path, seconds=0.5)
    assert outcome.counts == {"complete": 6}
    assert set(begun(ledger).values()) == {1}, "the killed trial went on"


def test_a_trial_that_was_taken_over_is_ended_by_its_heir_alone(
    write: Write, workspace: Workspace, trials: FakeTrials
) -> None:
    path = write(trials=1)
    sleeper = session_of(workspace, load_cells(path), trials)
    asleep = sleeper.studies[0].ask()
    assert asleep is not None
    workspace.runs.finish(sleeper.run_id, workspace.journal.owner, RunState.INTERRUPTED, {})
    submission = Submission("demo-tune", "grid.yaml", "", {"tune": "another"})
    heir_id = workspace.runs.submit(submission, [], {}, [])
    tuning = load_cells(path).tuning
    assert tuning is not None
    heir = ArmStudy(TrialCells(workspace, tuning, trials), tuning.arms[0], heir_id)
    taken = heir.ask()
    assert taken is not None and taken.number == asleep.number and taken.values == asleep.values
    sleeper.studies[0].complete(asleep, [1.0], {})
    assert sleeper.studies[0].view().counts == {"running": 1}
    heir.complete(taken, [2.0], {})
    sleeper.studies[0].fail(asleep, "it slept")
    assert not sleeper.studies[0].report(asleep, 1, 0.5)
    (row,) = heir.view().trials
    assert (row.values, row.run_id) == ((2.0,), heir_id)


def test_a_search_that_another_process_works_on_is_not_renewed_under_it(
    write: Write, workspace: Workspace, trials: FakeTrials
) -> None:
    path = write(trials=3)
    session = session_of(workspace, load_cells(path), trials)
    done, running = session.studies[0].ask(), session.studies[0].ask()
    assert done is not None and running is not None
    session.studies[0].remember_cells(done, "0a", {"0/finetune": "of other code"})
    session.studies[0].complete(done, [1.0], {})
    workspace.runs.finish(session.run_id, workspace.journal.owner, RunState.INTERRUPTED, {})
    workspace.runs.start(session.run_id, str(this_owner()), 60)
    with pytest.raises(ConflictError, match="1 trial of all would be measured again, and run demo"):
        session_of(workspace, load_cells(path), trials)


def test_a_failed_trial_is_tried_again_under_its_number(
    write: Write, workspace: Workspace, trials: FakeTrials, tune: Tune, tmp_path: Path
) -> None:
    path = write(trials=2, parallel=1)
    trials.broken_while = str(tmp_path / "broken")
    Path(trials.broken_while).touch()
    first, (before,) = tune(path)
    assert before.counts == {"fail": 2}
    assert workspace.runs.get(first.run_id).state is RunState.FAILED
    Path(trials.broken_while).unlink()
    _, (untouched,) = tune(path)
    assert untouched.counts == {"fail": 2}
    _, (after,) = tune(path, again=lambda trial: trial.number == 1)
    assert [row.state for row in after.trials] == ["fail", "complete"]
    _, (after,) = tune(path, again=lambda trial: True)
    assert [row.state for row in after.trials] == ["complete", "complete"]
    assert [row.params for row in after.trials] == [row.params for row in before.trials]


def test_diverged_trainings_are_answers_and_end_no_search(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    space = {"alignment.weight": {"float": [30.0, 40.0]}}
    session, (outcome,) = tune(write(space=space, trials=5, parallel=1))
    assert outcome.counts == {"pruned": 5} and not session.tuner.stopped
    assert all("the loss is nan" in row.reason for row in outcome.trials)
    assert workspace.runs.get(session.run_id).state is RunState.SUCCEEDED


def test_a_call_in_which_all_trials_were_pruned_is_no_cancellation(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    space = {"alignment.weight": {"categorical": [2.0, 9.0, 9.5]}}
    grid = {"space": space, "sampler": "grid", "pruner": "median", "startup_trials": 1,
            "parallel": 1}  # fmt: skip
    tune(write(**grid, trials=1))
    session, (outcome,) = tune(write(**grid, trials=3), seconds=0.3)
    assert outcome.counts == {"complete": 1, "pruned": 2}
    assert workspace.runs.get(session.run_id).state is RunState.SUCCEEDED


def test_resume_points_at_tune(tune: Tune, write: Write, workspace: Workspace) -> None:
    session, _ = tune(write(trials=1))
    with pytest.raises(ConfigError, match="workflows tune"):
        replan(workspace, session.run_id)


def test_kill_9_loses_no_trial_and_repeats_none(
    write: Write, tune: Tune, workspace: Workspace, ledger: Path
) -> None:
    path = write(trials=8)
    (process,) = processes(1, workspace, path, ledger, 0.2)
    end = time.monotonic() + 60
    while len(begun(ledger)) < 4 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    session, (outcome,) = tune(path, seconds=0.2)
    assert session.is_resumed
    assert [row.number for row in outcome.trials] == list(range(8))
    assert outcome.counts == {"complete": 8}
    cells = {row.cell_id for row in outcome.trials}
    assert count_trainings(workspace, session.run_id) == TrainingCounts(len(cells), len(cells))
    assert set(begun(ledger).values()) == {1}, "a trial that was running at the kill went on"
