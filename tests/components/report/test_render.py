"""Formats: one report, the same numbers everywhere. Golden files lie in `golden/`.

`pytest tests/components/report/test_render.py` with THREEDRS_REWRITE_GOLDEN=1 writes them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.report.document import Report, make_report
from threedrs_components.report.figures import figures
from threedrs_components.report.notation import plain
from threedrs_components.report.render import (
    FORMATS,
    WIDEST_CELL,
    _folded_table,
    _plain_table,
    latex_escape,
    render,
)
from threedrs_components.report.sheets import Sheet, sheets
from threedrs_platform.records import Metric
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import Values, fake_results

GOLDEN = Path(__file__).parent / "golden"
POSITION = "scanrefer/acc@0.25/position"


def study() -> Report:
    """Baseline, a better cell, a cell with a failed seed, a cell that failed altogether."""

    def numbers(position: float, score: float) -> dict[str, float | Metric]:
        return {
            POSITION: Metric(POSITION, position, 524, chance=17.4, majority=20.25),
            "probe/score": Metric("probe/score", score, 150, unit=""),
        }

    values: Values = {
        "baseline": {1: numbers(24.0, 0.55), 2: numbers(22.7, 0.57), 3: numbers(23.7, 0.56)},
        "vggt": {1: numbers(51.8, 0.44), 2: numbers(52.3, 0.45), 3: numbers(51.1, 0.46)},
        "mae_2d": {1: numbers(25.2, 0.5), 2: numbers(40.8, 0.51), 3: {}},
        "correspondence & co": {1: {}, 2: {}, 3: {}},
    }
    out_of_memory = (StepState.FAILED, "out of memory at step 7_000")
    failures = {
        ("mae_2d", 3): out_of_memory,
        **{("correspondence & co", seed): (StepState.BLOCKED, "") for seed in (1, 2, 3)},
    }
    micro = {"scenes": {"kind": "micro"}}
    params: dict[str, Any] = {
        "baseline": {**micro, "teacher": "none"},
        "vggt": {**micro, "teacher": "vggt"},
        "mae_2d": {**micro, "teacher": "mae"},
    }
    return make_report(fake_results(values, params, failures))


@pytest.mark.parametrize(
    ("style", "name"),
    [("table", "report.txt"), ("md", "report.md"), ("latex", "report.tex")],
)
def test_reports_look_as_recorded(style: str, name: str) -> None:
    text = render(study(), style, width=110)
    if os.environ.get("THREEDRS_REWRITE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("style", sorted(FORMATS))
def test_every_format_shows_the_missing_cell_as_missing(style: str) -> None:
    text = render(study(), style)
    assert "blocked" in text
    assert "out of memory at step" in text


@pytest.mark.parametrize("style", ["table", "md", "latex", "html", "json"])
def test_every_prose_format_carries_verdict_and_honesty(style: str) -> None:
    text = render(study(), style, width=10_000)
    assert "two seeds cannot show more" in text
    assert "Real rooms have no compass" in text
    assert "Only 3 seeds" in text


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("acc_50% & co", r"acc\_50\% \& co"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("~^#$", r"\textasciitilde{}\textasciicircum{}\#\$"),
        ("p < .05 ± 1°", r"p \textless{} .05 $\pm$ 1$^\circ$"),
    ],
)
def test_latex_prints_special_characters(raw: str, escaped: str) -> None:
    assert latex_escape(raw) == escaped


def test_markdown_and_html_escape_their_own_characters() -> None:
    report = make_report(fake_results({"a|b<c": {1: {"acc": 1.0}}}))
    assert r"a\|b\<c" in render(report, "md")
    assert "a|b&lt;c" in render(report, "html")


def test_csv_keeps_full_precision_and_one_row_per_cell_and_metric() -> None:
    rows = list(csv.DictReader(io.StringIO(render(study(), "csv"))))
    vggt = next(row for row in rows if row["cell"] == "vggt" and row["metric"] == POSITION)
    assert float(vggt["mean"]) == pytest.approx((51.8 + 52.3 + 51.1) / 3, rel=1e-15)
    assert (vggt["seeds"], vggt["seeds_wanted"], vggt["n"]) == ("3", "3", "524")
    assert vggt["verdict"] == "higher"
    assert len(rows) == 4 * 2


def test_json_has_every_seed_and_no_nan() -> None:
    loaded = json.loads(render(study(), "json"), parse_constant=pytest.fail)
    mae = next(cell for cell in loaded["cells"] if cell["cell"] == "mae_2d")
    assert mae["metrics"][POSITION]["values"] == {"1": 25.2, "2": 40.8}
    assert mae["metrics"][POSITION]["missing"] == {
        "3": "failed: finetune: out of memory at step 7_000"
    }
    assert {finding["verdict"] for finding in loaded["findings"]} >= {"agrees", "differs"}


def test_pivot_turns_rows_and_columns() -> None:
    plain, turned = sheets(study())[0], sheets(study(), pivot=True)[0]
    assert turned.turned() == plain
    assert turned.header[1] == "baseline"


def test_many_metrics_become_rows_unasked() -> None:
    results = fake_results({"a": {1: {f"m{index}": 1.0 for index in range(7)}}})
    assert sheets(make_report(results))[0].header == ("cell", "a", "n")


def test_a_run_without_numbers_shows_its_states() -> None:
    pending = {("a", 1): (StepState.PENDING, "")}
    text = render(make_report(fake_results({"a": {1: {}}}, failures=pending)), "table")
    assert "no metric yet" in text
    assert "pending" in text


def test_numbers_of_shared_steps_stand_apart_with_their_trivial_guess() -> None:
    quality = Metric("teacher/point_error", 0.72, 200, unit="m", chance=1.92)
    values: Values = {
        "baseline": {
            1: {"acc": 1.0, "scenes/skipped": Metric("scenes/skipped", 2.0, 150, "scenes")}
        },
        "vggt": {1: {"acc": 2.0, "teacher/point_error": quality}},
    }
    *_, sheet = sheets(make_report(fake_results(values)))
    assert sheet.title == "measured once and shared"
    assert sheet.rows == (
        ("scenes/skipped", "2", "-", "scenes", "150", "baseline"),
        ("teacher/point_error", "0.720", "1.920", "m", "200", "vggt"),
    )


def test_the_terminal_counts_shared_numbers_that_nobody_asked_for() -> None:
    values: Values = {"a": {1: {"acc": 1.0, "scenes/size": 3.0, "teacher/error": 2.0}}}
    report = make_report(fake_results(values))
    folded = render(report, "table", shared=False)
    assert "2 numbers measured once and shared: `workflows results --shared` shows them" in folded
    assert "teacher/error" not in folded and "teacher/error" in render(report, "table")


# Rich takes blanks off the end of what stands at the right; no text of a table has any.
CELL = st.text("ab ±°†é宽-.1", max_size=12).map(str.rstrip) | st.just("x" * (WIDEST_CELL + 1))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_plain_tables_are_those_of_rich(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    row = st.tuples(*[CELL] * count)
    sheet = Sheet("title", data.draw(row), tuple(data.draw(st.lists(row, max_size=4))))
    width = data.draw(st.none() | st.integers(10, 60))
    plain, folded = _plain_table(sheet, width), _folded_table(sheet, width)
    cells = [cell for line in (sheet.header, *sheet.rows) for cell in line]
    if plain:
        lines = [[line.rstrip() for line in text.splitlines()] for text in (plain, folded)]
        assert lines[0] == lines[1]
    else:
        narrow = not set("".join(cells)) & set("é宽")
        widest = [max(map(len, column)) for column in zip(sheet.header, *sheet.rows, strict=True)]
        assert (
            not narrow
            or max(widest[1:], default=0) > WIDEST_CELL
            or (width is not None and sum(widest) + 3 * count + 1 > width)
        )


def test_figures_show_each_seed_and_mark_chance() -> None:
    drawn = figures(study())
    assert sorted(drawn) == ["probe_score.svg", "scanrefer_acc_at_0.25_position.svg"]
    svg = drawn["scanrefer_acc_at_0.25_position.svg"]
    assert svg.count("<circle") == 3 + 3 + 2
    assert "chance" in svg and "missing" in svg and "correspondence &amp; co" in svg


@pytest.mark.parametrize(
    ("seeds", "heading"), [(1, "one seed, so no spread"), (2, "mean ± sd over seeds")]
)
def test_headings_of_one_seed_promise_nothing_over_seeds(seeds: int, heading: str) -> None:
    values: Values = {
        name: {seed: {POSITION: at + seed} for seed in range(seeds)}
        for name, at in (("baseline", 20.0), ("vggt", 50.0))
    }
    text = render(make_report(fake_results(values)), "table", width=110)
    assert heading in text
    assert ("95 % interval over scenes, one seed" in text) == (seeds == 1)


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert plain(-0.0001, "R2") == "0.000" and plain(-0.2, "") == "-0.200"
