"""Disks, files, clocks and buckets that fail at any moment of a run: nothing lost, nothing twice,
nothing finished done again, and the numbers of a run without faults."""

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.testing.faulty_bucket import FAULTS, FaultyBucket
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main
from threedrs_workflows.plan import binding
from threedrs_workflows.testing.disturbances import hurried
from threedrs_workflows.testing.faulted_runs import (
    EXPECTED,
    Met,
    Place,
    grid,
    undisturbed,
    with_full_disk,
    with_jumping_clock,
    with_spoilt_inputs,
    with_spoilt_reads,
    with_spoilt_requests,
    with_spoilt_work,
)
from threedrs_workflows.testing.promises import Repeats, outcome, repeats

pytestmark = pytest.mark.whole

GRID = Path(__file__).parents[3] / "ablations.yaml"
SUMS_AND_VALUES = sorted(f"({value},)" for value in (1.0, 2.0, 385.0, 505.0, 645.0))
"""What the grid of these runs measures: two values, and sums of ten squares."""
needs_moto = pytest.mark.skipif(
    importlib.util.find_spec("moto") is None, reason="needs moto[server]"
)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("THREEDRS_TRACKING", "off")
    with hurried():
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Met:
    met = undisturbed(Place(tmp_path_factory.mktemp("undisturbed")), with_history=False)
    assert met.state is EXPECTED
    assert met.found["metrics"] == SUMS_AND_VALUES
    assert sum("succeeded" in step for step in met.found["steps"]) == 9
    return met


@pytest.fixture(scope="module")
def bucket() -> Iterator[FaultyBucket]:
    with FaultyBucket() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


def check(met: Met, expected: Met, at: object) -> None:
    assert met.state is EXPECTED, at
    assert met.repeated == Repeats(0, 0), at
    assert met.found == expected.found, at


def test_a_disk_that_is_full_now_and_then_costs_no_finished_step(
    tmp_path: Path, expected: Met
) -> None:
    met = 0
    for first in range(1, 100, 17):
        found = with_full_disk(Place(tmp_path / str(first)), first, every=101)
        check(found, expected, f"call {first} and every 101st after it")
        met += found.faults
    assert met >= 18


def test_unfinished_work_that_the_disk_spoils_changes_no_number(
    tmp_path: Path, expected: Met
) -> None:
    met = 0
    for seed in range(8):
        found = with_spoilt_work(Place(tmp_path / str(seed)), random.Random(seed))
        check(found, expected, seed)
        met += found.faults
    assert met >= 24


def test_artifacts_that_the_disk_spoils_are_made_again_and_nothing_else_is(
    tmp_path: Path, expected: Met
) -> None:
    met = 0
    for seed in range(8):
        found = with_spoilt_inputs(Place(tmp_path / str(seed)), random.Random(seed))
        check(found, expected, seed)
        met += found.faults
    assert met >= 8


def test_artifacts_that_the_disk_spoils_under_steps_that_read_them_change_no_number(
    tmp_path: Path, expected: Met
) -> None:
    met = 0
    for seed in range(8):
        found = with_spoilt_reads(Place(tmp_path / str(seed)), random.Random(seed))
        check(found, expected, seed)
        met += found.faults
    assert met >= 16


def test_a_clock_that_jumps_by_hours_changes_nothing(tmp_path: Path, expected: Met) -> None:
    met = 0
    for seed in range(3):
        chance = random.Random(seed)
        found = with_jumping_clock(Place(tmp_path / str(seed)), chance, every=11)
        assert found.state is EXPECTED and found.repeated == Repeats(0, 0), seed
        assert {name: found.found[name] for name in expected.found} == expected.found, seed
        met += found.faults
    assert met >= 20


@pytest.mark.e2e
@needs_moto
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_survives_an_s3_bucket_that_fails(
    fault: str, bucket: FaultyBucket, tmp_path: Path, expected: Met
) -> None:
    met = 0
    for first in (1, 2):
        place = Place(tmp_path / str(first), store=f"s3://{bucket.name}/{fault}-{first}")
        found = with_spoilt_requests(place, bucket, (fault,), first, every=3)
        assert found.repeated == Repeats(0, 0)
        assert {name: found.found[name] for name in expected.found} == expected.found
        met += found.faults
    assert met >= 10


@pytest.mark.e2e
@needs_moto
def test_a_submission_to_an_s3_bucket_that_fails_ends_as_any_other(
    bucket: FaultyBucket,
    tmp_path: Path,
    expected: Met,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"s3://{bucket.name}/submitted"
    monkeypatch.setenv("THREEDRS_ARTIFACTS", url)
    monkeypatch.setattr(binding, "bind_cells", lambda grid_file, files: grid())
    words = ["submit", str(GRID), "--smoke", "--ray", "none", "--workspace", str(tmp_path / "w")]
    before = sum(bucket.faults.values())
    bucket.spoil(*FAULTS, first=5, every=3)
    assert main([*words, "--no-report", "--quiet"]) == 3
    assert sum(bucket.faults.values()) - before >= 10
    assert main([*words, "--no-report", "--quiet"]) == 3, "what is done is not done again"
    bucket.spoil()
    with find_workspace(str(tmp_path / "w"), artifacts_url=url, environment={}) as workspace:
        run_id = workspace.runs.get("last").id
        assert repeats(workspace) == Repeats(0, 0)
        assert outcome(workspace, run_id, with_history=False) == expected.found
