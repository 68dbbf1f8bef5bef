"""The Tuning page shows Optuna's studies: history, importance, front, parallel coordinates."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from starlette.testclient import TestClient

from threedrs_dashboards.testing.tiny_study import STUDY, write_tiny_study
from threedrs_dashboards.tuning.brush import BrushAxis
from threedrs_platform.database.studies import (
    OUT_OF_DATE,
    REPLACED_BY,
    REPLACES,
    facts_of,
    keep_facts,
    load_study,
    read_study,
)
from threedrs_platform.workspace import Workspace


def figure(text: str, name: str) -> dict[str, Any]:
    found = re.search(rf'id="plot-{name}">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found.group(1))
    return content


@pytest.fixture
def page(client: TestClient, workspace: Path, database_url: str) -> str:
    write_tiny_study(workspace, database_url, ("scanqa/em@1",))
    return client.get(f"/tuning?study={STUDY}").text


def test_without_studies_the_page_says_how_to_make_one(client: TestClient) -> None:
    assert "workflows tune FILE" in client.get("/tuning").text


def test_studies_are_listed_with_their_budget(page: str, client: TestClient) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/tuning").text))
    assert f"{STUDY} 10 of 12 2 0 0 scanqa/ em@1 9 " in text


def test_history_shows_values_and_the_best_so_far_and_counts_the_pruned(page: str) -> None:
    values, best, so_far = figure(page, "history")["data"]
    assert values["y"] == [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0] == so_far["y"]
    assert best["y"] == [9.0]
    assert "2 trials ended early" in page


def test_importance_finds_the_setting_that_mattered(client: TestClient, page: str) -> None:
    rows = list(
        csv.DictReader(io.StringIO(client.get(f"/tuning?study={STUDY}&csv=importance").text))
    )
    assert rows[0]["setting"] == "alignment.weight" and float(rows[0]["share"]) > 0.8


def test_the_command_line_and_the_page_tell_the_same_importance(
    client: TestClient, workspace: Path, database_url: str
) -> None:
    write_tiny_study(workspace, database_url, ("scanqa/em@1",))
    rows = csv.reader(io.StringIO(client.get(f"/tuning?study={STUDY}&csv=importance").text))
    with Workspace(workspace, database_url, "") as opened:
        told = read_study(load_study(opened, STUDY)).importance["scanqa/em@1"]
    assert {name: float(share) for name, share in list(rows)[1:]} == pytest.approx(told)


def test_the_watched_curve_is_named_without_its_sign(page: str) -> None:
    assert "<dd>validation/loss</dd>" in page


def test_a_best_trial_at_the_end_of_its_range_is_told(page: str) -> None:
    assert "alignment.weight 10 is at the upper end of its range (0.1 to 10): widen it" in page


def test_parallel_coordinates_have_a_line_per_trial(page: str) -> None:
    groups = figure(page, "parallel")["data"]
    assert [group["name"] for group in groups[-2:]] == ["best fifth", "best"]
    assert sum(group["x"].count(None) for group in groups[:-1]) == 8
    assert groups[-1]["x"].count(None) == 1
    assert all(y is None or 0 <= y <= 1 for group in groups for y in group["y"])


def test_every_setting_has_a_plot_of_its_own(page: str) -> None:
    weight, best, layer, _ = figure(page, "slices")["data"]
    assert (best["name"], best["y"]) == ("best", [max(weight["y"])])
    assert (weight["xaxis"], layer["xaxis"]) == ("x", "x2")
    assert weight["y"] == layer["y"] and len(weight["y"]) == 8
    assert set(layer["x"]) == {-1, 2}


def test_curves_are_drawn_as_they_were_not_turned_round_for_the_pruner(page: str) -> None:
    complete, pruned = figure(page, "curves")["data"]
    assert pruned["x"] == [5, None, 5, None] and pruned["y"] == [-2.0, None, -6.0, None]
    assert set(complete["y"]) == {None}


def test_trials_that_kept_no_keys_are_marked_and_count_for_nothing(
    client: TestClient, workspace: Path, database_url: str
) -> None:
    write_tiny_study(workspace, database_url, ("scanqa/em@1",), has_keys=False)
    text = client.get(f"/tuning?study={STUDY}").text
    assert "10 trials left out: nothing says by which code" in text
    assert "<s>9</s>" in text and "Best by" not in text and "plot-history" not in text


def test_a_study_that_is_replaced_leads_to_the_one_that_goes_on(
    client: TestClient, workspace: Path, database_url: str
) -> None:
    old = write_tiny_study(workspace, database_url, ("scanqa/em@1",))
    new = optuna.create_study(study_name=f"{STUDY}@2", storage=old._storage, direction="maximize")
    keep_facts(new, facts_of(old))
    new.set_user_attr(REPLACES, STUDY)
    new.set_user_attr(OUT_OF_DATE, dict.fromkeys("01", "code changed (finetune)"))
    new.add_trial(old.trials[0])
    old.set_user_attr(REPLACED_BY, new.study_name)
    listed = client.get("/tuning").text
    assert f"{STUDY}@2</a>" in listed and f"{STUDY}</a>" not in listed
    assert f"{STUDY}@2 goes on in its place" in client.get(f"/tuning?study={STUDY}").text
    text = client.get(f"/tuning?study={STUDY}@2").text
    assert "2 trials out of date: code changed (finetune)" in text
    assert "1 of them measured again, 1 left out until then" in text


def test_trials_lead_to_their_cells_and_can_be_sorted(page: str, client: TestClient) -> None:
    assert 'href="/cell?run=run-1&amp;cell=id-vggt">9</a>' in page
    body = client.get(f"/tuning?study={STUDY}&order=best+first").text
    order = re.findall(r"cell=id-vggt\">(\d+)</a>", body)
    assert order[:3] == ["9", "8", "6"] and set(order[-2:]) == {"3", "7"}


def test_two_metrics_have_a_pareto_front(
    client: TestClient, workspace: Path, database_url: str
) -> None:
    write_tiny_study(workspace, database_url, ("scanqa/em@1", "scanrefer/acc@0.25"))
    text = client.get(f"/tuning?study={STUDY}&metric=scanqa/em@1").text
    dominated, front = figure(text, "front")["data"]
    assert front["x"] == [1.0, 3.0, 5.0, 7.0, 9.0] and front["y"] == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert dominated["x"] == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_an_unknown_study_is_told(client: TestClient, page: str) -> None:
    answer = client.get(f"/tuning?study={STUDY}x")
    assert answer.status_code == 404 and "did you mean" in answer.text


def test_a_study_name_cannot_lead_out_of_the_workspace(client: TestClient) -> None:
    answer = client.get("/tuning?study=../../../etc/passwd")
    assert answer.status_code == 404 and "there is no study" in answer.text


def lit_rows(text: str) -> list[int]:
    return [int(each) for each in re.findall(r'data-trial="(\d+)" class="lit"', text)]


def test_trials_are_brushed_by_a_range_and_one_by_one(page: str, client: TestClient) -> None:
    assert lit_rows(page) == []

    def lit(words: str) -> list[int]:
        shown = lit_rows(client.get(f"/tuning?study={STUDY}&{words}").text)
        answer = client.get(f"/tuning/brushed?study={STUDY}&{words}").json()
        assert answer == {"lit": shown}
        return shown

    assert lit("brush=alignment.weight&low=3&high=5") == [2, 3, 4]
    assert lit("brush=alignment.layer&low=2") == [1, 3, 5, 7, 9]
    assert lit("brush=scanqa/em@1&low=6") == [6, 8, 9]  # the pruned have no value
    assert lit("brush=alignment.weight&low=99") == [] and lit("trials=4,1") == [1, 4]
    assert client.get(f"/tuning/brushed?study={STUDY}").json() == {"lit": None}


def test_a_setting_of_words_is_brushed_by_one_of_them() -> None:
    axis = BrushAxis("teacher", ["mae", "vggt"], 0.0, 1.0)
    asked = [axis.holds(value, (None, None), "vggt") for value in ("mae", "vggt", None)]
    assert asked == [False, True, False] and axis.holds("mae", (None, None), "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("brush=alignment.wait", "alignment.weight"),
        ("brush=alignment.weight&low=much", "is no number"),
        ("trials=1,x", "is no list of trials"),
    ],
)
def test_a_wrong_brush_is_told(page: str, client: TestClient, words: str, says: str) -> None:
    answer = client.get(f"/tuning?study={STUDY}&{words}")
    assert answer.status_code == 404 and says in answer.text


def test_points_of_every_plot_know_their_trial(page: str) -> None:
    for name in ("history", "slices", "parallel", "curves"):
        for trace in figure(page, name)["data"]:
            if trace["name"] != "best so far":
                assert len(trace["customdata"]) == len(trace["x"])
                assert "markers" in trace["mode"], "a box finds nothing of a bare line"
    lines = figure(page, "parallel")["data"][-1]
    assert lines["customdata"] == [9, 9, 9, None]
