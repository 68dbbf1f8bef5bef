"""The Compare page: cells of any runs, their curves, numbers, settings and answers side by side."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import statistics
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_dashboards.cell.curves import CurveName
from threedrs_dashboards.compare.at_step import TRAINING, Reached, SeedPoint
from threedrs_dashboards.compare.frames import ColouredBox, drawn_frames
from threedrs_dashboards.compare.overlay import shared_names, unlike_sums
from threedrs_dashboards.testing.tiny_run import BASELINE, RUN, TAUGHT

ACC = "scanrefer/acc@0.25"
URL = "/compare?cell=run-1:id-baseline&cell=run-1:id-vggt"


def rows(client: TestClient, url: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(url).text)))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_without_cells_the_newest_runs_cells_are_offered(client: TestClient) -> None:
    text = client.get("/compare").text
    assert 'type="checkbox" name="cell" value="run-1:id-vggt"' in text


def test_differences_to_the_first_have_intervals_and_marks(client: TestClient) -> None:
    (base, ours) = (each for each in rows(client, f"{URL}&csv=metrics") if each["metric"] == ACC)
    assert base["difference"] == "" and float(ours["difference"]) == pytest.approx(27.0)
    assert float(ours["ci_low"]) < 27.0 < float(ours["ci_high"])
    shown = words(client.get(URL).text)
    assert "50.0 ± 1.0 +27.0 [" in shown


def test_what_is_shown_changes_no_verdict(client: TestClient) -> None:
    """Tests are the run's: every cell in what the grid reports, against the first arm."""

    def told(more: str) -> tuple[str, str]:
        found = re.search(
            r"over (\d+) tested differences, which the grid fixes", words(client.get(more).text)
        )
        [ours] = [
            each["p_holm"]
            for each in rows(client, f"{more}&csv=metrics")
            if (each["metric"], each["cell"]) == (ACC, "vggt")
        ]
        assert found is not None
        return found[1], ours

    first = told(URL)
    assert first == told(f"{URL}&metric={ACC}") == told(f"{URL}&metric={ACC}&metric={ACC}/g_lm")
    assert first == told(f"{URL}&cell=run-1:id-vggt heavy") and int(first[0]) > 4


def test_only_settings_that_differ_are_told_the_short_list_first(client: TestClient) -> None:
    text = client.get(URL).text
    short = text[text.index("<h2>Settings that differ") : text.index("Settings of parts")]
    assert "<code>teacher</code>" in short
    assert "students.llava.kind" not in text and "teachers.vggt.kind" not in short


def test_curves_of_all_cells_share_a_plot_and_a_seed_can_be_chosen(client: TestClient) -> None:
    def drawn(words: str) -> list[dict[str, object]]:
        found = re.search(
            r'id="plot-curve0">(.*?)</script>', client.get(URL + words).text, re.DOTALL
        )
        assert found is not None
        traces: list[dict[str, object]] = json.loads(found[1])["data"]
        return traces

    means = [each["name"] for each in drawn("") if each.get("showlegend", True)]
    assert means == ["baseline", "vggt"] and len(drawn("")) == 8
    assert [each["name"] for each in drawn("&seed=2")] == ["baseline", "vggt"]
    assert len(rows(client, f"{URL}&curve=finetune/loss&csv=curve0")) == 2 * 3 * 2000


def test_a_step_of_the_training_shows_what_was_logged_by_then(client: TestClient) -> None:
    found = {
        (each["curve"], each["cell"], each["seed"]): each
        for each in rows(client, f"{URL}&step=7&csv=step")
    }
    values = [10.0 / (7 + seed) for seed in (1, 2, 3)]
    assert [float(found["loss", "vggt", seed]["value"]) for seed in "123"] == pytest.approx(values)
    assert found["loss/text", "vggt", "1"]["logged_at"] == "0" and len(found) == 2 * 2 * 3
    shown = words(client.get(f"{URL}&step=7").text)
    assert "By training step 7, mean ± sd where all seeds" in shown
    assert f"{statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g}" in shown
    part = client.get(f"/compare/step?{URL.partition('?')[2]}&step=7&seed=2").text
    assert "By training step 7, seed 2" in words(part) and "of step 0" in words(part)
    assert "<html" not in part and f"{10.0 / 9:.4g}" in part


@pytest.mark.parametrize(
    ("points", "text", "notes"),
    [
        ([(100, 2.0), (100, 4.0)], "3 ± 1.4", []),
        ([(90, 2.0), (90, 4.0)], "3 ± 1.4", ["of step 90"]),
        (
            [(100, 2.0), (40, 9.0), ()],
            "1 of 3 seeds",
            ["seed 1: 2 of step 100", "seed 2: 9 of step 40", "seed 3: none"],
        ),
        (
            [(100, 2.0), (60, None)],
            "1 of 2 seeds diverged",
            ["seed 1: 2 of step 100", "seed 2: diverged of step 60"],
        ),
        ([(60, None)], "diverged", ["of step 60"]),
        ([(), ()], "-", []),
        ([], "-", []),
    ],
)
def test_seeds_have_a_mean_only_where_all_have_a_value_at_the_same_step(
    points: list[tuple[Any, ...]], text: str, notes: list[str]
) -> None:
    reached = Reached([SeedPoint(seed, *point) for seed, point in enumerate(points, 1)])
    assert (reached.text, reached.notes(100)) == (text, notes)


def test_a_step_beyond_the_end_is_the_last(client: TestClient) -> None:
    assert {each["step"] for each in rows(client, f"{URL}&csv=step")} == {"1999"}
    text = client.get(f"{URL}&step=123456").text
    assert "By training step 1999" in text and '"x0":1999' in text
    assert '"shapes":[]' in client.get(URL).text, "no line where no step is asked for"


def test_cells_that_never_trained_have_no_steps(client: TestClient) -> None:
    url = "?cell=run-1:id-late"
    text = client.get(f"/compare{url}").text
    assert "step-slider" not in text
    assert re.search(r'<label hidden>training step <input[^>]* name="step" disabled>', text)
    answer = client.get(f"/compare/step{url}")
    assert answer.status_code == 404 and "has logged a training step" in answer.text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/compare?cell=run-1:id-vgt", "id-vggt"),
        ("/compare?cell=run-7:id-vggt", "no run is called"),
        (f"{URL}&seed=9", "no &#39;9&#39; here"),
        (f"{URL}&metric=../../etc/passwd", "no metric"),
        ("/compare?" + "&".join(f"cell=run-1:{n}" for n in range(9)), "at most 8"),
    ],
)
def test_wrong_words_are_told(client: TestClient, url: str, says: str) -> None:
    answer = client.get(url)
    assert answer.status_code == 404 and says in answer.text


@pytest.mark.parametrize("page", ["/table?run=run-1", "/runs?run=run-1"])
def test_rows_of_tables_are_ticked_into_it(client: TestClient, page: str) -> None:
    text = client.get(page).text
    assert '<form id="compare" action="/compare"' in text
    assert 'form="compare" name="cell" value="run-1:id-vggt"' in text


def test_one_question_is_answered_by_all_with_frames_and_boxes(scenes: TestClient) -> None:
    url = f"/compare?cell={RUN}:{BASELINE}&cell={RUN}:{TAUGHT}&seed=2"
    text = scenes.get(url).text
    assert "answer of" in text or re.search(r"at \([-\d.]+, ", text)
    picture = re.search(r'href="(/compare/frame.png[^"]+)"', text)
    assert picture is not None and 'class="box true"' in text
    assert scenes.get(picture[1].replace("&amp;", "&")).headers["Content-Type"] == "image/png"
    groups = {each["group"] for each in rows(scenes, f"{url}&csv=room")}
    assert groups == {"ground truth", BASELINE, TAUGHT}
    answered = rows(scenes, f"{url}&csv=answers")
    assert [(each["cell_id"], each["seed"]) for each in answered] == [
        (BASELINE, "2"),
        (TAUGHT, "2"),
    ]
    assert {each[ACC] for each in answered} <= {"0.0", "100.0"}


def test_boxes_lie_where_their_corners_are_seen() -> None:
    scene = make_scene(MicroWorldConfig(num_frames=3), "val", 1).record()
    assert scene.objects is not None
    box = scene.objects.boxes[0].tolist()
    truth = ColouredBox("truth", "#000000", box, True)
    frames = drawn_frames(scene, [ColouredBox("ours", "#ff0000", box), truth])
    assert frames and [each.title for each in frames[0].boxes] == ["truth", "ours"]
    assert [each.above for each in frames[0].boxes] == [1, 0]
    drawn = np.array(re.findall(r"[ML]([-\d.]+) ([-\d.]+)", frames[0].boxes[0].path), float)
    to_world = scene.axis_alignment @ scene.camera_to_world[frames[0].index]
    corners = box[:3] + np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * box[3:]
    local = np.c_[corners, np.ones(8)] @ np.linalg.inv(to_world).T
    seen = local[local[:, 2] > 0.05, :3] @ scene.color_intrinsics.T
    for place in seen[:, :2] / seen[:, 2:] + 0.5:
        assert np.abs(drawn - place).max(1).min() < 0.06


def test_where_no_box_is_there_no_frame_is_singled_out() -> None:
    scene = make_scene(MicroWorldConfig(num_frames=3), "val", 1).record()
    far_away = ColouredBox("ours", "#ff0000", (500.0, 500.0, 500.0, 1.0, 1.0, 1.0))
    assert drawn_frames(scene, []) == [] and drawn_frames(scene, [far_away]) == []


def test_the_reference_is_the_grids_baseline_in_whatever_order_rows_are_ticked(
    client: TestClient,
) -> None:
    ticked = "/compare?cell=run-1:id-vggt&cell=run-1:id-baseline"
    by_cell = {
        each["cell"]: each["difference"]
        for each in rows(client, f"{ticked}&csv=metrics")
        if each["metric"] == ACC
    }
    assert by_cell["baseline"] == "" and float(by_cell["vggt"]) == pytest.approx(27.0)
    turned = rows(client, f"{ticked}&reference=run-1:id-vggt&csv=metrics")
    (ours,) = (each for each in turned if (each["metric"], each["cell"]) == (ACC, "baseline"))
    assert float(ours["difference"]) == pytest.approx(-27.0)


def test_chance_and_n_stand_beside_the_numbers(client: TestClient) -> None:
    text = client.get(URL).text
    table = text[text.index('id="metrics"') :]
    head = re.findall(r'<th scope="col">([^<]+)</th>', table[: table.index("</thead>")])
    assert head[0] == "metric" and head[-1] == "n"
    (row,) = (each for each in table.split("<tr>") if f'title="{ACC}' in each.split("</th>")[0])
    assert re.fullmatch(r"\d+", re.findall(r"<td[^>]*>([^<]*)</td>", row)[-1])


class Logged:
    """Curves by cell, as steps have logged them."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    def names(self, steps: list[tuple[str, str]]) -> list[CurveName]:
        return [CurveName(TRAINING, name) for name in self._names[steps[0][0]]]


def test_sums_of_other_terms_are_not_compared_unwarned() -> None:
    plain, taught = ["loss", "loss/text"], ["loss", "loss/alignment", "loss/text"]
    arms: Any = [
        SimpleNamespace(
            title=title, replicates=[SimpleNamespace(steps=[SimpleNamespace(key=title, role="r")])]
        )
        for title in ("none", "vggt")
    ]
    unlike: Any = Logged({"none": plain, "vggt": taught})
    told = unlike_sums(unlike, arms)
    assert "none: text; vggt: alignment, text" in told
    assert shared_names(unlike, arms)[0].name == "loss/text"
    alike: Any = Logged({"none": taught, "vggt": taught})
    assert unlike_sums(alike, arms) == ""
    assert shared_names(alike, arms)[0].name == "loss"
    silent: Any = Logged({"none": [], "vggt": taught})
    assert unlike_sums(silent, arms) == "" and shared_names(silent, arms)[0].name == "loss"
