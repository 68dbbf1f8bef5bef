"""The result table: seeds summarised, nothing missing hidden."""

from __future__ import annotations

import math
from typing import Any

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.report.notation import entry_text, interval, p_value, signed
from threedrs_components.report.table import (
    ORDER,
    Entry,
    headlines,
    is_headline,
    result_table,
    select_metrics,
)
from threedrs_platform.errors import ConfigError
from threedrs_platform.records import Metric
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import fake_results


def test_entries_hold_mean_and_spread_over_seeds() -> None:
    table = result_table(fake_results({"a": {1: {"acc": 40.0}, 2: {"acc": 44.0}}}))
    entry = table.rows[0].entries["acc"]
    assert entry.mean == 42.0
    assert entry.sd == pytest.approx(2.828427)
    assert entry_text(entry, "%") == "42.0 ± 2.8"


def test_one_seed_has_no_spread() -> None:
    entry = result_table(fake_results({"a": {1: {"acc": 40.0}}})).rows[0].entries["acc"]
    assert entry.sd is None
    assert entry_text(entry, "%") == "40.0"


def test_a_failed_seed_is_counted_and_explained() -> None:
    results = fake_results(
        {"a": {1: {"acc": 40.0}, 2: {}}}, failures={("a", 2): (StepState.FAILED, "out of memory")}
    )
    row = result_table(results).rows[0]
    assert entry_text(row.entries["acc"], "%") == "40.0 (1/2)"
    assert row.entries["acc"].reasons == {2: "failed: finetune: out of memory"}
    assert row.done == 1


@pytest.mark.parametrize("state", [StepState.FAILED, StepState.BLOCKED, StepState.PENDING])
def test_a_cell_without_numbers_is_missing_with_its_state(state: StepState) -> None:
    results = fake_results({"a": {1: {"acc": 1.0}}, "b": {1: {}}}, failures={("b", 1): (state, "")})
    assert entry_text(result_table(results).rows[1].entries["acc"], "%") == f"missing ({state})"


def test_a_finished_cell_that_never_measures_a_metric_misses_nothing() -> None:
    results = fake_results({"a": {1: {"acc": 1.0}}, "b": {1: {"other": 1.0}}})
    entry = result_table(results).rows[0].entries["other"]
    assert not entry.is_shown
    assert entry_text(entry, "%") == "-"


def test_nan_is_missing_not_averaged() -> None:
    results = fake_results({"a": {1: {"acc": 1.0}, 2: {"acc": math.nan}}})
    entry = result_table(results).rows[0].entries["acc"]
    assert entry.values == {1: 1.0}
    assert entry.reasons == {2: "value is nan"}


def test_columns_carry_chance_majority_and_n() -> None:
    metric = Metric("acc", 40.0, 524, chance=17.4, majority=20.0)
    column = result_table(fake_results({"a": {1: {"acc": metric}}})).columns[0]
    assert (column.n, column.chance, column.majority, column.unit) == ((524,), 17.4, 20.0, "%")


def test_the_baseline_is_found_by_label_and_by_choice() -> None:
    results = fake_results({"vggt": {1: {"acc": 1.0}}, "baseline": {1: {"acc": 1.0}}})
    assert result_table(results).baseline == "id-baseline"
    assert result_table(results, baseline="vggt").baseline == "id-vggt"
    assert result_table(results, baseline="base").baseline == "id-baseline"
    with pytest.raises(ConfigError, match="did you mean 'vggt'"):
        result_table(results, baseline="vgt")


def test_without_a_name_the_cell_that_adds_nothing_is_the_baseline() -> None:
    params: dict[str, dict[str, Any]] = {
        "a": {"teacher": "vggt"},
        "b": {"correspondence": {"weight": 1.0}},
        "c": {},
    }
    results = fake_results({name: {1: {"acc": 1.0}} for name in "abc"}, params)
    assert result_table(results).baseline == "id-c"


def test_patterns_choose_metrics_and_refuse_what_matches_none() -> None:
    results = fake_results({"a": {1: {"scanrefer/acc@0.25": 1.0, "probe/score": 2.0}}})
    table = result_table(results, ["scanrefer/*"])
    assert [column.name for column in table.columns] == ["scanrefer/acc@0.25"]
    with pytest.raises(ConfigError, match="did you mean 'probe/score'"):
        result_table(results, ["prob/score"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("scanrefer/acc@0.25", True),
        ("scanrefer/acc@0.25/position", True),
        ("scanrefer/acc@0.5/position", False),
        ("scanrefer/acc@0.25/g_lm", False),
        ("scanrefer/missing", False),
        ("probe/score", True),
        ("probe/pairs", False),
        ("probe/position_xy/x", False),
        ("probe_teacher:probe/score", False),
        ("teacher/point_error", False),
        ("training/loss", False),
    ],
)
def test_headlines_leave_out_single_question_types(name: str, shown: bool) -> None:
    assert is_headline(name) is shown


def test_numbers_keep_their_sign_and_their_honesty() -> None:
    assert signed(-0.01, "%") == "0.0"
    assert signed(-0.01, "m") == "-0.010"
    assert interval((-1.0, 2.0), "%") == "[-1.0, +2.0]"
    assert interval((-math.inf, 2.0), "%") == ""
    assert [p_value(p) for p in (None, 0.0, 0.034, 1.0)] == [
        "",
        "p < .001",
        "p = .034",
        "p = 1.000",
    ]


def test_an_empty_run_has_no_baseline() -> None:
    table = result_table(fake_results({}))
    assert (table.rows, table.columns, table.baseline) == ((), (), None)


def test_seeds_disagreeing_on_n_show_the_range() -> None:
    results = fake_results(
        {"a": {1: {"acc": Metric("acc", 1.0, 10)}, 2: {"acc": Metric("acc", 1.0, 12)}}}
    )
    assert result_table(results).columns[0].n == (10, 12)


def test_an_entry_is_shown_when_it_should_have_been_measured() -> None:
    assert Entry({}, 1, reasons={1: "failed"}).is_shown
    assert not Entry({}, 1).is_shown


def test_a_metric_that_is_none_is_told_with_its_nearest_and_where_all_are() -> None:
    names = [f"scanrefer/acc@0.25/type{number}" for number in range(20)] + ["probe/score"]
    with pytest.raises(ConfigError) as caught:
        select_metrics(names, ("prob/score",))
    told = str(caught.value)
    assert "did you mean 'probe/score'?" in told
    assert "`workflows results --metric '*'` shows all 21" in told and "type19" not in told
    with pytest.raises(ConfigError, match=r"did you mean .scanrefer/acc@0\.25/type7.\?"):
        select_metrics(names, ("*TYPE7?",))
    with pytest.raises(ConfigError, match="known: acc, em"):
        select_metrics(["acc", "em"], ("nonsense",))


def test_unasked_metrics_stand_in_the_order_of_the_paper() -> None:
    assert list(BENCHMARKS) == list(ORDER)
    names = ["multi3drefer/f1@0.25", "probe/score", "scanqa/em@1", "scanrefer/acc@0.25"]
    assert headlines(names) == tuple(names[at] for at in (3, 0, 2, 1))
