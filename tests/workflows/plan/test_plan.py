"""What is done, what has to run, and why: the reason must name the field."""

import time
from pathlib import Path

import pytest

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.recipes import CodeDigest
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import chains, fake_cell, fake_step, fans
from threedrs_platform.testing.store_contract import corrupt_file
from threedrs_workflows.plan.plan import make_plan
from threedrs_workflows.testing.engine_bench import Engine, reasons


def pair(x: float = 1, y: int = 1, version: int = 1) -> list[Cell]:
    """One cell: `late` reads from `early`."""
    early = fake_step("noop", {"x": x, "deep": {"z": 0}}, kind="early", version=version)
    late = fake_step("measure", {"y": y}, kind="late", early=early)
    return [fake_cell("cell", {"early": early, "late": late})]


def test_everything_is_new_at_first_and_done_afterwards(engine: Engine) -> None:
    assert reasons(engine.look(pair())) == {"early": "new", "late": "new"}
    engine.submit(pair())
    plan = engine.look(pair())
    assert reasons(plan) == {"early": "done", "late": "done"} and not plan.misses


def test_a_plan_changes_nothing(engine: Engine) -> None:
    engine.look(pair())
    assert engine.workspace.runs.recent() == []


def test_cells_share_equal_steps(engine: Engine) -> None:
    plan = engine.look(fans(5, ledger="unused"))
    shared = {step.spec.kind: step.cells for step in plan.steps}
    assert len(plan.steps) == 7 and shared == {"root": 5, "middle": 5, "result": 1}


def test_inputs_come_before_their_users(engine: Engine) -> None:
    seen: set[str] = set()
    for step in engine.look(chains(3, 4)).steps:
        assert seen.issuperset(step.inputs.values())
        seen.add(step.key)


@pytest.mark.parametrize(
    ("change", "early", "late"),
    [
        ({"x": 2}, "parameter x changed: 1 to 2", "input changed: early"),
        ({"y": 2}, "done", "parameter y changed: 1 to 2"),
        ({"version": 2}, "version changed: 1 to 2", "input changed: early"),
    ],
)
def test_the_reason_names_the_field_that_changed(
    engine: Engine, change: dict[str, int], early: str, late: str
) -> None:
    engine.submit(pair())
    assert reasons(engine.look(pair(**change))) == {"early": early, "late": late}


def test_changed_code_and_packages_are_named(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(self: CodeIndex, entry: str, _modules: object) -> CodeDigest:
        return CodeDigest("old", {"torch": "2.12"})

    monkeypatch.setattr(CodeIndex, "digest", digest)
    engine.submit(pair())
    monkeypatch.undo()
    reason = reasons(engine.look(pair()))["early"]
    assert reason.startswith('code changed; package torch changed: "2.12" to absent')


def test_a_new_step_beside_one_that_stays_is_new(engine: Engine) -> None:
    engine.submit(pair())
    grown = [*pair(), fake_cell("other", {"early": pair(x=5)[0].steps["early"]})]
    steps = engine.look(grown).steps
    assert [step.reason for step in steps] == ["done", "done", "new"]


def test_a_lost_artifact_is_noticed(engine: Engine) -> None:
    engine.submit(pair())
    store = engine.workspace.store
    store.gc(set(), grace_s=-1, apply=True)
    assert reasons(engine.look(pair())) == {
        "early": "artifact missing",
        "late": "input rebuilt: early",
    }


def test_a_damaged_artifact_is_noticed(engine: Engine) -> None:
    engine.submit(pair())
    corrupt_file(engine.artifact("late") / "out.txt")
    assert reasons(engine.look(pair())) == {"early": "done", "late": "artifact corrupt"}


def test_a_failed_step_is_planned_again_with_its_failure(engine: Engine) -> None:
    cells = [fake_cell("cell", {"bad": fake_step("fail")})]
    engine.submit(cells)
    assert reasons(engine.look(cells))["fail"].startswith("failed before (bug): ValueError")


def test_steps_behind_a_failed_one_say_so(engine: Engine) -> None:
    bad = fake_step("fail")
    cells = [fake_cell("cell", {"bad": bad, "late": fake_step("noop", before=bad)})]
    engine.submit(cells)
    assert reasons(engine.look(cells))["noop"] == "an input failed before"


def test_an_interrupted_step_says_so(engine: Engine) -> None:
    plan = engine.look(pair())
    engine.submit(pair())
    journal, key = engine.workspace.journal, plan.steps[1].key
    journal.invalidate(engine.run_id, key, "")
    claim = journal.claim(engine.run_id, key, lease_s=-1)
    assert claim is not None
    assert reasons(engine.look(pair()))["late"] == "interrupted"


@pytest.mark.parametrize("target", ["early", "early@cell"])
def test_a_refreshed_step_and_what_reads_from_it_run_again(engine: Engine, target: str) -> None:
    engine.submit(pair())
    assert reasons(engine.look(pair(), [target])) == {
        "early": "refreshed",
        "late": "input rebuilt: early",
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lately", "names no step; kinds here: early, late"),
        ("early@nowhere", "no cell 'nowhere' has a step 'early'; cells: cell"),
    ],
)
def test_a_refresh_that_names_nothing_is_an_error(
    engine: Engine, target: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        engine.look(pair(), [target])


def test_work_done_under_another_recipe_is_a_hit(engine: Engine) -> None:
    """Version 2 of `early` yields the same artifact, so `late` need not run again."""
    engine.submit(pair())
    engine.submit(pair(version=2))
    engine.workspace.journal.rows([])
    plan = engine.look(pair(y=1, version=2))
    assert not plan.misses


def test_time_is_predicted_from_steps_of_equal_sizes(engine: Engine) -> None:
    assert engine.look(pair(x=0.1)).predicted_seconds is None
    engine.submit(pair(x=0.1))
    assert engine.look(pair(x=9)).predicted_seconds is None
    plan = engine.look(pair(x=0.2))
    assert plan.predicted_seconds is not None and 0 < plan.predicted_seconds < 10
    assert all(step.size for step in plan.steps)


def test_a_plan_needs_no_compute_and_stays_fast(engine: Engine) -> None:
    cells = chains(20, 10)
    engine.compute = InProcessCompute(1)
    assert engine.submit(cells) is RunState.SUCCEEDED
    engine.look(cells)
    began = time.process_time()
    assert not engine.look(cells).misses
    assert time.process_time() - began < 1.0  # 0.2 ms a step is the aim; this only stops disasters


def test_make_plan_works_without_a_remembered_code_index(engine: Engine, tmp_path: Path) -> None:
    plan = make_plan(pair(), engine.workspace.journal, engine.workspace.store)
    assert len(plan.misses) == 2
