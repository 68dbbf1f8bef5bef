"""An edit without effect on numbers can be accepted: on record, for code alone, not for ever."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from threedrs_platform.database.acceptances import Acceptances, Proposal
from threedrs_platform.database.lineage import trace_step
from threedrs_platform.database.results import Results
from threedrs_platform.database.runs import Submission
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity import source_code
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import Cell, StepSpec
from threedrs_workflows.plan.acceptance import propose
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.plan.submission import record
from threedrs_workflows.testing.engine_bench import Engine

EARLY = """
from threedrs_platform.records import Metric

def run(task):
    value = task.params["x"]
    task.metric(Metric("early/x", float(value), n=1))
    (task.out / "x").write_text(str(value))
"""
RENAMED = EARLY.replace("value", "number")
LATE = """
def run(task):
    (task.out / "y").write_text((task.inputs["early"] / "x").read_text())
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "threedrs_planted"
    root.mkdir()
    for name, text in (("__init__", ""), ("early", EARLY), ("late", LATE)):
        (root / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    source_code._package_folders.cache_clear()
    yield root
    source_code._package_folders.cache_clear()
    forget_loaded_code()


def forget_loaded_code() -> None:
    """As in another process."""
    for name in [name for name in sys.modules if name.startswith("threedrs_planted")]:
        del sys.modules[name]
    source_code._pinned.clear()
    source_code._loaded.clear()


def edit(engine: Engine, path: Path, text: str) -> None:
    path.write_text(text)
    engine.workspace.code.forget()


def cells(x: int = 1) -> list[Cell]:
    early = StepSpec("early", "threedrs_planted.early:run", {"x": x})
    late = StepSpec("late", "threedrs_planted.late:run", {}, {"early": early})
    return [Cell("cell", "cell", 1, {}, {"early": early, "late": late})]


def proposals(engine: Engine, plan: Plan, *targets: str) -> list[Proposal]:
    return propose(plan, engine.workspace.journal, engine.workspace.store, targets)


def accept(engine: Engine, *targets: str, why: str = "renamed") -> None:
    found = proposals(engine, engine.look(cells()), *targets)
    Acceptances(engine.workspace.database).add(found, why, "me")


def states(plan: Plan) -> dict[str, str]:
    return {step.spec.kind: step.reason if step.hit else "run" for step in plan.steps}


def refusals(engine: Engine, wanted: Sequence[Cell], target: str) -> str:
    with pytest.raises(ConfigError) as caught:
        proposals(engine, engine.look(wanted), target)
    return str(caught.value)


def test_a_plan_names_the_functions_that_changed(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    early = engine.look(cells()).steps[0]
    assert early.changed_code == ("threedrs_planted.early: run",)
    assert early.reason == "code changed: threedrs_planted.early: run"


def test_accepted_results_stand_for_the_new_code_and_say_so(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    before = engine.artifact("early").name
    edit(engine, package / "early.py", RENAMED)
    assert states(engine.look(cells())) == {"early": "run", "late": "run"}
    accept(engine, "early")
    plan = engine.look(cells())
    assert states(plan)["early"] == "accepted: renamed"
    assert states(plan)["late"].startswith("same inputs as step")
    assert engine.submit(cells()) is RunState.SUCCEEDED
    assert len(engine.attempts()) == 2, "nothing was computed again"
    assert engine.artifact("early").name == before
    assert states(engine.look(cells()))["early"] == "accepted: renamed"
    (cell,) = Results(engine.workspace.database).run_results(engine.run_id).cells
    assert cell.measurements["early/x"].metric.value == 1.0
    assert {step.kind: step.accepted for step in cell.steps} == {"early": "renamed", "late": ""}
    traced = trace_step(engine.workspace.database, plan.steps[0].key)
    assert traced.acceptance is not None
    assert (traced.acceptance.why, traced.acceptance.new_code) == ("renamed", traced.code)


def test_among_different_results_nobody_but_the_user_can_choose(
    engine: Engine, package: Path
) -> None:
    engine.submit(cells())
    first = engine.look(cells()).steps[0].recipe.code
    forget_loaded_code()
    edit(engine, package / "early.py", EARLY.replace("str(value)", "str(2 * value)"))
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    found = refusals(engine, cells(), "early")
    assert "choose by --from CODE among results of code" in found and first[:12] in found
    plan = engine.look(cells())
    journal, store = engine.workspace.journal, engine.workspace.store
    (chosen,) = propose(plan, journal, store, ["early"], first[:8])
    assert chosen.old_code == first


def test_what_was_taken_back_has_no_results(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    accept(engine, "early")
    engine.submit(cells())
    acceptances = Acceptances(engine.workspace.database)
    (one,) = acceptances.every()
    assert [each.number for each in acceptances.take_back([one.number])] == [one.number]
    assert acceptances.take_back([one.number]) == []
    assert states(engine.look(cells())) == {"early": "run", "late": "run"}
    (cell,) = Results(engine.workspace.database).run_results(engine.run_id).cells
    assert cell.measurements == {} and cell.state is StepState.PENDING
    assert {step.kind: step.state for step in cell.steps} == {
        "early": StepState.PENDING,
        "late": StepState.PENDING,
    }


def test_an_acceptance_of_accepted_results_ends_with_them(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    accept(engine, "early", why="first")
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED.replace("number", "third"))
    accept(engine, "early", why="second")
    assert states(engine.look(cells()))["early"] == "accepted: second"
    acceptances = Acceptances(engine.workspace.database)
    acceptances.take_back([acceptances.every()[0].number])
    assert states(engine.look(cells()))["early"] == "run"


@pytest.mark.parametrize("state", [StepState.CANCELLED, StepState.FAILED, StepState.BLOCKED])
def test_a_step_that_was_given_up_takes_accepted_results(
    engine: Engine, package: Path, state: StepState
) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    plan = engine.look(cells())
    engine.run_id = record(engine.workspace, Submission("demo", "demo.yaml", "", {}), plan)
    engine.workspace.journal.move(engine.run_id, [plan.steps[0].key], state, "given up")
    accept(engine, "early")
    assert engine.submit(cells()) is RunState.SUCCEEDED
    assert engine.row("early").state is StepState.SUCCEEDED
    (cell,) = Results(engine.workspace.database).run_results(engine.run_id).cells
    assert cell.measurements["early/x"].metric.value == 1.0


def test_results_that_are_computed_later_count_for_themselves(
    engine: Engine, package: Path
) -> None:
    engine.submit(cells())
    forget_loaded_code()
    edit(engine, package / "early.py", RENAMED)
    accept(engine, "early")
    engine.submit(cells())
    engine.submit(cells(), refresh=["early"])
    plan = engine.look(cells())
    assert states(plan)["early"] == "done" and plan.steps[0].acceptance is None
    assert trace_step(engine.workspace.database, plan.steps[0].key).acceptance is None


def test_only_code_may_differ(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    found = refusals(engine, cells(x=2), "early")
    assert "only code may differ, but earlier results have other parameters" in found


def test_a_step_behind_one_without_results_is_refused(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "early.py", RENAMED)
    edit(engine, package / "late.py", LATE + "\nMORE = 1\n")
    assert "its input early has no results; accept those, too" in refusals(engine, cells(), "late")
    both = proposals(engine, engine.look(cells()), "early", "late")
    assert [each.kind for each in both] == ["early", "late"]


def test_a_step_of_other_inputs_is_refused(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    edit(engine, package / "late.py", LATE + "\nMORE = 1\n")
    changed = engine.look(cells(x=2))
    engine.submit([Cell("cell", "cell", 1, {}, {"early": changed.steps[0].spec})])
    assert "have read other early" in refusals(engine, cells(x=2), "late")


def test_without_earlier_results_there_is_nothing_to_accept(engine: Engine, package: Path) -> None:
    assert "there are no earlier results" in refusals(engine, cells(), "early")


def test_a_lost_artifact_cannot_be_accepted(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    engine.workspace.store.gc(set(), grace_s=-1, apply=True)
    edit(engine, package / "early.py", RENAMED)
    assert "missing or damaged" in refusals(engine, cells(), "early")


def test_done_steps_need_no_acceptance(engine: Engine, package: Path) -> None:
    engine.submit(cells())
    assert proposals(engine, engine.look(cells()), "early", "late") == []


def test_a_step_that_nobody_has_is_named(engine: Engine, package: Path) -> None:
    assert "kinds here: early, late" in refusals(engine, cells(), "lately")
