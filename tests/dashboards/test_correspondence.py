"""The Correspondence page: numbers against a slow reference, bounded at any size."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from threedrs_components.probing.quartiles import quartile_analysis, sample_quartiles
from threedrs_dashboards.app import create_app
from threedrs_dashboards.correspondence.figures import drawn_apart, scatter_chart
from threedrs_dashboards.correspondence.scores import SamplePoint, sample_points
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.measurements import (
    CellResult,
    Measurement,
    RunResults,
    RunSummary,
    StepSummary,
)
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import RunState, StepState
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

LOCAL = "http://127.0.0.1:8365"
PROBE, ACC, EM = "probe/score", "scanrefer/acc@0.25", "scanqa/em@1"
PATH = "/correspondence"
SCENES, PER_SCENE, CELLS = 40, 6, 30
CELL_IDS = ["base", *(f"c{number:02d}" for number in range(1, CELLS))]


def score(cell: int, seed: int, scene: int) -> float:
    return 0.3 + 0.01 * cell + 0.004 * ((scene * 7 + seed * 3) % SCENES)


def value(cell: int, seed: int, scene: int, sample: int) -> float:
    return 100.0 * ((scene * 7 + cell + sample * 11 + seed) % SCENES > 20 - cell % 3)


def scores_of(cell: int, seed: int) -> dict[str, list[SampleScore]]:
    name = f"{CELL_IDS[cell]}-{seed}"
    return {
        f"probe-{name}": [
            SampleScore(PROBE, f"s{scene}", f"s{scene}", score(cell, seed, scene))
            for scene in range(SCENES)
        ],
        f"score-{name}": [
            SampleScore(metric, f"{metric[:6]}-{scene}-{sample}", f"s{scene}",
                        value(cell, seed, scene, sample))
            for metric in (ACC, EM)
            for scene in range(SCENES)
            for sample in range(PER_SCENE)
        ],
    }  # fmt: skip


def result(cell_id: str, seed: int, roles: tuple[str, ...]) -> CellResult:
    steps = tuple(
        StepSummary(role, f"{role}-{cell_id}-{seed}", role, StepState.SUCCEEDED) for role in roles
    )
    return CellResult(cell_id, f"cell {cell_id}", seed, "", {}, steps, measured(cell_id, seed))


def measured(cell_id: str, seed: int) -> dict[str, Measurement]:
    """The mean score, as a probe reports it."""
    if cell_id not in CELL_IDS:
        return {}
    mean_score = mean(score(CELL_IDS.index(cell_id), seed, scene) for scene in range(SCENES))
    metric = Metric(PROBE, mean_score, SCENES, "cosine")
    return {PROBE: Measurement(metric, f"probe-{cell_id}-{seed}")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("correspondence")
    database = open_database(sqlite_url(folder / "results.db"))
    scores: dict[str, list[SampleScore]] = {}
    cells = []
    for number, cell_id in enumerate(CELL_IDS):
        for seed in (1, 2):
            scores |= scores_of(number, seed)
            cells.append(result(cell_id, seed, ("probe", "score")))
    cells.append(result("blind", 1, ("score",)))
    summary = RunSummary("run-1", "study", RunState.SUCCEEDED, 1.0)
    store_run(database, RunResults(summary, tuple(cells)), scores)
    database.close()
    return folder


@pytest.fixture(scope="module")
def pages(root: Path) -> Iterator[TestClient]:
    app = create_app(find_workspace(str(root), environment={}))
    yield TestClient(app, LOCAL)
    app.state.store.close()


def table(client: TestClient, words: str) -> list[dict[str, str]]:
    answer = client.get(f"/correspondence?{words}")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def figure(client: TestClient, name: str, words: str = "") -> Any:
    text = client.get(f"/correspondence?{words}").text
    (found,) = re.findall(rf'id="plot-{name}">(.*?)</script>', text, re.S)
    return json.loads(found)["data"]


def scene_scores(cell: int) -> list[float]:
    return [mean(score(cell, seed, scene) for seed in (1, 2)) for scene in range(SCENES)]


def test_scores_of_a_scene_are_averaged_over_seeds_then_spread(pages: TestClient) -> None:
    rows = table(pages, "csv=spread")
    assert [row["cell_id"] for row in rows] == CELL_IDS[:12]
    values = sorted(scene_scores(3))
    row = rows[3]
    assert float(row["mean"]) == pytest.approx(mean(values))
    assert float(row["median"]) == pytest.approx((values[19] + values[20]) / 2)
    assert int(row["scenes"]) == SCENES


def test_the_difference_and_its_interval_are_those_of_the_ablation_table(
    pages: TestClient,
) -> None:
    row = next(row for row in table(pages, "csv=gain") if row["cell_id"] == "c05")
    assert float(row["difference"]) == pytest.approx(0.05)
    assert float(row["after"]) - float(row["before"]) == pytest.approx(0.05)
    means = [mean(score(5, seed, scene) for scene in range(SCENES)) for seed in (1, 2)]
    assert float(row["after_sd_over_seeds"]) == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    text = pages.get(f"/table?metric={PROBE}&csv=table&baseline=base").text
    same = next(each for each in csv.DictReader(io.StringIO(text)) if each["cell"] == "cell c05")
    assert (row["ci_low"], row["ci_high"]) == (same["ci_low"], same["ci_high"])


def test_a_loss_is_not_told_as_a_gain(pages: TestClient) -> None:
    told = pages.get("/correspondence?against=c29&find=c0").text
    assert "No cell is above cell c29; least below: cell c09 -0.200" in told
    one = pages.get("/correspondence?against=c29&find=c05").text
    assert "Difference to cell c29: cell c05 -0.240" in one and "Largest gain" not in one
    assert "11 of 11 cells are above cell base, most so cell c11" in pages.get(PATH).text


def test_quartiles_are_those_of_the_analysis(pages: TestClient) -> None:
    row = table(pages, f"metric={EM}&csv=quartiles")[4]
    values = [
        mean(value(4, seed, scene, sample) for seed in (1, 2) for sample in range(PER_SCENE))
        for scene in range(SCENES)
    ]
    wanted = quartile_analysis(scene_scores(4), values)
    assert [float(row[name]) for name in ("Q1", "Q2", "Q3", "Q4")] == pytest.approx(wanted.means)
    assert float(row["spearman"]) == pytest.approx(wanted.spearman)
    assert row["verdict"] == wanted.verdict
    by_sample = sample_quartiles(scene_scores(4), values, [PER_SCENE] * SCENES)
    names = [f"Q{number}_of_samples" for number in range(1, 5)]
    assert [float(row[name]) for name in names] == pytest.approx(by_sample.means)
    assert int(row["Q1_samples"]) == by_sample.counts[0] > wanted.counts[0]


def test_a_cells_samples_stand_against_their_scenes_score(pages: TestClient) -> None:
    rows = table(pages, f"cell=c02&seed=2&metric={ACC}&csv=scatter")
    assert len(rows) == SCENES * PER_SCENE
    for row in rows[:50]:
        scene, sample = map(int, row["sample"].split("-")[1:])
        assert float(row[PROBE]) == pytest.approx(score(2, 2, scene))
        assert float(row[ACC]) == value(2, 2, scene, sample)
        assert row["link"] == (
            f"/scenes?run=run-1&cell=c02&seed=2&against=base&metric={quote(ACC, '')}"
            f"&scene=s{scene}&sample={row['sample']}"
        )


def test_points_by_scene_are_means_over_seeds(pages: TestClient) -> None:
    rows = table(pages, f"cell=c02&unit=scene&metric={ACC}&csv=scatter")
    assert len(rows) == SCENES and "sample=" not in rows[0]["link"]
    found = {row["scene"]: float(row[PROBE]) for row in rows}
    assert found["s7"] == pytest.approx(scene_scores(2)[7])


def test_points_are_listed_in_the_order_asked_for(pages: TestClient) -> None:
    text = pages.get("/correspondence?cell=c02&order=highest+score&unit=scene").text
    listed = re.search(r'id="points".*?</table>', text, re.S)
    assert listed is not None
    shown = [float(each) for each in re.findall(r"<td>(0\.\d+)</td>", listed[0])]
    assert len(shown) == 20 and shown == sorted(shown, reverse=True)


def test_cells_come_page_by_page_and_by_name(pages: TestClient) -> None:
    assert [row["cell_id"] for row in table(pages, "page=3&csv=spread")] == CELL_IDS[24:]
    assert [row["cell_id"] for row in table(pages, "find=c1&csv=spread")] == CELL_IDS[10:20]
    assert "No cell name holds zzz" in pages.get("/correspondence?find=zzz").text
    assert "cells 1 to 12 of 30" in pages.get("/correspondence").text


def test_cells_without_scores_are_named(pages: TestClient) -> None:
    text = pages.get("/correspondence").text
    assert re.search(r"Without scores, so not shown:\s+cell blind\.", text)
    answer = pages.get("/correspondence?cell=blind")
    assert answer.status_code == 404 and "cell blind has no correspondence scores" in answer.text


def test_the_histogram_counts_every_scene_once(pages: TestClient) -> None:
    rows = table(pages, "cell=c29&csv=histogram")
    assert sum(int(row["cell base"]) for row in rows) == SCENES
    assert sum(int(row["cell c29"]) for row in rows) == SCENES
    assert float(rows[0]["from"]) == pytest.approx(min(scene_scores(0)))
    assert float(rows[-1]["to"]) == pytest.approx(max(scene_scores(29)))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("metric=scanqa/em", "did you mean"),
        ("score=accuracy", "known: probe/score"),
        ("cell=c99", "has no cell"),
        ("run=other", "no run is called"),
        ("seed=5", "no cell has the seed 5"),
        ("unit=voxel", "no &#39;voxel&#39; here"),
    ],
)
def test_wrong_words_are_told(pages: TestClient, words: str, says: str) -> None:
    answer = pages.get(f"/correspondence?{words}")
    assert answer.status_code == 404 and says in answer.text


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(tmp_path / "results.db"))
    scores = {
        "probe": [SampleScore(PROBE, f"s{n}", f"s{n}", n / 100) for n in range(100)],
        "score": [SampleScore(ACC, f"q{n:05d}", f"s{n % 100}", float(n % 2)) for n in range(9001)],
    }
    summary = RunSummary("run-1", "study", RunState.SUCCEEDED, 1.0)
    cell = CellResult("c", "c", 1, steps=(
        StepSummary("probe", "probe", "probe", StepState.SUCCEEDED),
        StepSummary("score", "score", "score", StepState.SUCCEEDED),
    ))  # fmt: skip
    store_run(database, RunResults(summary, (cell,)), scores)
    yield database
    database.close()


def test_many_samples_are_thinned_out_evenly(large: Database) -> None:
    points, number = sample_points(large, ("probe", PROBE), ("score", ACC), 2000)
    assert number == 9001
    assert [point.sample_id for point in points] == [f"q{n:05d}" for n in range(0, 9001, 5)]
    assert points[3].score == 0.15


def test_the_page_says_how_many_points_it_left_out(large: Database, tmp_path: Path) -> None:
    app = create_app(find_workspace(str(tmp_path), environment={}))
    answer = TestClient(app, LOCAL).get("/correspondence")
    assert "9001 samples of c under seed 1, 1801 of them drawn" in answer.text
    assert len(answer.content) < 300_000
    app.state.store.close()


def test_equal_values_are_drawn_apart_but_keep_their_order() -> None:
    values = [0.0, 100.0] * 20
    drawn = drawn_apart(values)
    assert max(drawn[::2]) < 50 < min(drawn[1::2])
    assert len(set(drawn)) == 40
    assert max(abs(a - b) for a, b in zip(drawn, values, strict=True)) <= 12
    distinct = [float(n) for n in range(30)]
    assert drawn_apart(distinct) == distinct and drawn_apart([1.0] * 9) == [1.0] * 9


def test_an_axis_of_percentages_ends_where_they_do(pages: TestClient) -> None:
    def axis(values: list[float], unit: str) -> dict[str, Any]:
        points = [SamplePoint(f"q{n}", "room", 0.5, each) for n, each in enumerate(values)]
        links = ["/"] * len(points)
        chart = scatter_chart("t", points, links, (PROBE, ACC), ("cosine", unit), "")
        return dict(chart.layout["yaxis"])

    assert axis([0.0], "%")["title"]["text"] == "ScanRefer: accuracy at IoU 0.25 (%)"
    low, high = axis([0.0, 100.0] * 20, "%")["range"]
    assert -8 < low < -5 and 105 < high < 108
    assert axis([0.0, 100.0] * 20, "%")["tickvals"] == [0, 20, 40, 60, 80, 100]
    assert "range" not in axis([0.0, 240.0] * 20, "%") and "range" not in axis([0.0, 1.0], "R2")


def test_plots_and_headings_name_metrics_in_words_with_units(pages: TestClient) -> None:
    text = pages.get(f"{PATH}?metric={quote(ACC, '')}").text
    layout = re.findall(r'"title":\{"text":"([^"]+)"', text)
    assert "ScanRefer: accuracy at IoU 0.25" in layout
    assert "correspondence score (cosine)" in layout and ACC not in layout
    assert f'<option value="{ACC}" title="{ACC}" selected>ScanRefer: accuracy at' in text
    assert f'<abbr title="{ACC}: ' in text


def test_lines_of_a_plot_are_told_by_shape_too(pages: TestClient) -> None:
    traces = figure(pages, "quartiles")
    looks = {(trace["line"]["color"], trace["marker"]["symbol"]) for trace in traces}
    assert len(traces) > 8 and len(looks) == len(traces), "no two cells look the same"
    assert len({trace["marker"]["symbol"] for trace in traces[:8]}) == 8


def test_no_plot_needs_eval_however_many_points_it_has() -> None:
    points = [SamplePoint(f"q{n}", "room", n / 2000, float(n % 2)) for n in range(2000)]
    chart = scatter_chart("samples", points, ["/"] * 2000, ("score", "metric"), ("", ""), "")
    assert [trace["type"] for trace in chart.traces] == ["scatter"]
