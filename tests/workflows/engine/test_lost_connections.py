"""A database that is lost at any statement of a run: the result is that of an undisturbed one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.testing.broken_statements import STATEMENT_FAULTS
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_workflows.testing.disturbances import hurried
from threedrs_workflows.testing.faulted_runs import EXPECTED, Met, Place, with_broken_statements

pytestmark = pytest.mark.whole

STRIDE = int(os.environ.get("THREEDRS_BREAK_EVERY", "149"))
"""Every how manieth statement is broken alone; breaking all of them takes many minutes."""
APART = {"answer": 5}
"""Commits between two faults of one run."""
STATEMENTS_APART = 37
"""The same for faults of statements: more than a turn has."""


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with hurried():
        yield


def run_with(kind: str, fault: str, folder: Path, first: int, every: int = 0) -> Met:
    with fresh_database(kind, folder) as url:
        return with_broken_statements(Place(folder, url), fault, first, every)


faults = pytest.mark.parametrize(
    ("kind", "fault"),
    [(kind, each) for kind in database_kinds() for each in STATEMENT_FAULTS[kind]],
)


@faults
def test_a_run_survives_a_fault_at_any_statement(kind: str, fault: str, tmp_path: Path) -> None:
    expected = run_with(kind, fault, tmp_path / "undisturbed", 0)
    assert expected.state is EXPECTED and expected.seen > 20
    assert len(expected.found["metrics"]) == 5
    for first in range(1, expected.seen, STRIDE):
        met = run_with(kind, fault, tmp_path / str(first), first)
        assert met.found == expected.found, f"statement {first} of {expected.seen}"


@faults
def test_a_hundred_faults_in_a_row_of_runs_change_nothing(
    kind: str, fault: str, tmp_path: Path
) -> None:
    expected = run_with(kind, fault, tmp_path / "undisturbed", 0)
    broken, every = 0, APART.get(fault, STATEMENTS_APART)
    for first in range(1, STATEMENTS_APART + 1):
        met = run_with(kind, fault, tmp_path / str(first), first, every)
        assert met.found == expected.found, f"number {first} and every {every}th after it"
        broken += met.faults
        if broken >= 100:
            break
    assert broken >= 100
