"""Measurements in SQL: written once, read back as cells x seeds x metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect, update

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, open_database, open_read_only
from threedrs_platform.database.measurements import (
    CellResult,
    Measurement,
    RunResults,
    RunSummary,
    SceneTotal,
    StepSummary,
)
from threedrs_platform.database.results import Results, write_measurements
from threedrs_platform.database.score_sums import SUMS
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import ConfigError
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import RunState, StepState
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run


@pytest.fixture(params=database_kinds())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as url:
        opened = open_database(url)
        yield opened
        opened.close()


def scores(metric: str, values: dict[str, list[float]]) -> list[SampleScore]:
    return [
        SampleScore(metric, f"{scene}-{index}", scene, value)
        for scene, items in values.items()
        for index, value in enumerate(items)
    ]


def test_a_run_reads_back_as_it_was_written(database: Database) -> None:
    written = fake_results(
        {
            "baseline": {1: {"acc": Metric("acc", 24.9, 524, chance=17.4, ci95=(21.0, 28.5))}},
            "vggt": {1: {"acc": 48.2}, 2: {"acc": 51.0}},
        },
        params={"vggt": {"teacher": {"kind": "vggt"}}},
    )
    store_run(database, written)
    assert Results(database).run_results("run-1") == written


def test_a_failed_step_hides_its_numbers_and_names_its_cause(database: Database) -> None:
    failed = {("vggt", 2): (StepState.FAILED, "CUDA out of memory\nTraceback ...")}
    store_run(database, fake_results({"vggt": {1: {"acc": 1.0}, 2: {"acc": 2.0}}}, failures=failed))
    cell = Results(database).run_results("run-1").cells[1]
    assert cell.measurements == {}
    assert cell.missing_reason == "failed: finetune: CUDA out of memory"


def test_scores_are_summed_by_scene_without_the_missing_ones(database: Database) -> None:
    results = fake_results({"vggt": {1: {"acc": 50.0}}})
    reported = scores("acc", {"room-a": [100.0, 0.0, math.nan], "room-b": [100.0]})
    store_run(database, results, scores={"key-vggt-1": reported})
    store = Results(database)
    assert store.scene_totals(store.run_results("run-1")) == {
        ("id-vggt", 1, "acc"): {"room-a": SceneTotal(100.0, 2), "room-b": SceneTotal(100.0, 1)}
    }
    assert store.sample_scores(results.cells[0].measurements["acc"]) == {
        "room-a-0": 100.0,
        "room-a-1": 0.0,
        "room-b-0": 100.0,
    }


def test_scores_are_summed_once_from_their_index_and_no_table_reads_them(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "results.db"))
    reported = {
        f"key-vggt-{seed}": scores("acc", {f"room-{room}": [float(seed)] * 20 for room in range(3)})
        for seed in (1, 2)
    }
    results = fake_results({"vggt": {seed: {"acc": 50.0} for seed in (1, 2)}})
    store_run(database, results, scores=reported)
    with database.write() as connection:
        question = f"EXPLAIN QUERY PLAN {SUMS.compile(connection)}"
        plan = [row[-1] for row in connection.exec_driver_sql(question, ("key-vggt-1", 0))]
        connection.execute(schema.sample_scores.delete())
    assert any("COVERING INDEX sample_scores_by_scene" in line for line in plan)
    assert not any("TEMP B-TREE" in line for line in plan)
    sums = Results(database).scene_totals(results)["id-vggt", 2, "acc"]
    assert list(sums) == ["room-0", "room-1", "room-2"] and sums["room-1"] == SceneTotal(40.0, 20)
    database.close()


def test_sums_are_replaced_with_the_scores(database: Database) -> None:
    results = fake_results({"vggt": {1: {"acc": 50.0}}})
    store_run(database, results, scores={"key-vggt-1": scores("acc", {"room": [1.0]})})
    with database.write() as connection:
        anew = scores("acc", {"room": [2.0, 3.0]})
        write_measurements(connection, "key-vggt-1", [Metric("acc", 2.5, 2)], anew, [])
    totals = Results(database).scene_totals(results)
    assert totals["id-vggt", 1, "acc"] == {"room": SceneTotal(5.0, 2)}


@pytest.mark.parametrize("is_archive", [True, False])
def test_sums_of_older_tables_are_the_same_to_the_last_digit(
    tmp_path: Path, is_archive: bool
) -> None:
    url = sqlite_url(tmp_path / "results.db")
    database = open_database(url)
    results = fake_results({"vggt": {1: {"acc": 50.0}}})
    values = {f"room-{room}": [(room + k) / 7 for k in range(30)] for room in (2, 1)}
    store_run(database, results, scores={"key-vggt-1": scores("acc", values)})
    wanted = dict(Results(database).scene_totals(results)["id-vggt", 1, "acc"])
    with database.write() as connection:
        schema.score_sums.drop(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    database.close()
    older = open_read_only(url) if is_archive else open_database(url)
    assert dict(Results(older).scene_totals(results)["id-vggt", 1, "acc"]) == wanted
    with older.read() as connection:
        assert inspect(connection).has_table("score_sums") is not is_archive
    older.close()


def test_scores_that_an_older_program_stored_without_sums_count(database: Database) -> None:
    results = fake_results({"vggt": {1: {"acc": 50.0, "bare": 1.0}, 2: {"acc": 60.0}}})
    each = {f"key-vggt-{seed}": scores("acc", {"room": [1.0, seed]}) for seed in (1, 2)}
    store_run(database, results, scores=each)
    with database.write() as connection:
        of_one = schema.score_sums.c.step_key == "key-vggt-2"
        connection.execute(schema.score_sums.delete().where(of_one))
    totals = Results(database).scene_totals(results)
    assert totals["id-vggt", 2, "acc"] == {"room": SceneTotal(3.0, 2)}
    assert len(totals) == 2 and ("id-vggt", 1, "bare") not in totals


def test_the_state_of_a_runs_numbers_changes_with_them(database: Database) -> None:
    store_run(database, fake_results({"vggt": {1: {"acc": 1.0}, 2: {"acc": 2.0}}}))
    store = Results(database)
    before = store.state_of_numbers("run-1")
    assert store.state_of_numbers("run-1") == before
    with database.write() as connection:
        write_measurements(connection, "key-vggt-1", [Metric("acc", 3.0, 1)], [], [])
    after = store.state_of_numbers("run-1")
    assert after != before
    with database.write() as connection:
        connection.execute(update(schema.steps).values(state="failed"))
    assert store.state_of_numbers("run-1") not in (before, after)


def test_two_steps_of_one_kind_keep_their_numbers_apart(database: Database) -> None:
    def step(role: str, key: str) -> StepSummary:
        return StepSummary(role, key, "probe", StepState.SUCCEEDED)

    cell = CellResult(
        cell_id="id",
        name="vggt",
        seed=1,
        steps=(step("probe", "k1"), step("probe_teacher", "k2")),
        measurements={
            "probe/score": Measurement(Metric("probe/score", 0.4, 1), "k1"),
            "probe_teacher:probe/score": Measurement(Metric("probe/score", 0.8, 1), "k2"),
        },
    )
    written = RunResults(RunSummary("run-1", "study", RunState.SUCCEEDED), (cell,))
    per_scene = {
        key: scores("probe/score", {"room": [value]}) for key, value in (("k1", 0.4), ("k2", 0.8))
    }
    store_run(database, written, scores=per_scene)
    store = Results(database)
    assert store.run_results("run-1") == written
    assert {
        name: found["room"].total for (_, _, name), found in store.scene_totals(written).items()
    } == {
        "probe/score": 0.4,
        "probe_teacher:probe/score": 0.8,
    }


def test_curves_keep_their_order_and_their_gaps(database: Database) -> None:
    points = [CurvePoint(20, "loss", math.nan), CurvePoint(10, "loss", 0.5)]
    store_run(database, fake_results({"a": {1: {}}}), points={"key-a-1": points})
    first, second = Results(database).curves("key-a-1")
    assert first == CurvePoint(10, "loss", 0.5)
    assert second.step == 20 and math.isnan(second.value)


def test_a_second_commit_replaces_the_first(database: Database) -> None:
    for value in (1.0, 2.0):
        with database.write() as connection:
            write_measurements(
                connection, "key", [Metric("acc", value, 1)], scores("acc", {"a": [value]}), []
            )
    store_run(database, fake_results({"other": {1: {}}}))
    with database.read() as connection:
        found = connection.exec_driver_sql("SELECT value FROM metrics").scalars().all()
        kept = connection.exec_driver_sql("SELECT value FROM sample_scores").scalars().all()
    assert found == [2.0] and kept == [2.0]


def test_runs_are_found_by_id_beginning_and_name(database: Database) -> None:
    store_run(database, fake_results({}, name="teachers"))
    store = Results(database)
    for wanted in (None, "run-1", "run", "teachers"):
        assert store.find_run(wanted).run_id == "run-1"
    with pytest.raises(ConfigError, match="did you mean 'teachers'"):
        store.find_run("teacher")


def test_an_empty_store_says_how_to_start(database: Database) -> None:
    with pytest.raises(ConfigError, match="workflows submit"):
        Results(database).find_run()


def test_a_cell_writes_its_scores_in_bulk(database: Database) -> None:
    rows = scores("acc", {f"room-{scene}": [1.0] * 35 for scene in range(150)})
    start = time.process_time()
    with database.write() as connection:
        write_measurements(connection, "key", [], rows, [])
    assert len(rows) == 5250
    assert time.process_time() - start < 5
