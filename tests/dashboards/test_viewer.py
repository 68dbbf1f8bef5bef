"""The Scenes page over real artifacts."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import (
    PreparedScenes,
    choose_frames,
    prepare_scene,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.students.checkpoints import student_features
from threedrs_components.students.registry import open_student
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer import scene_data
from threedrs_dashboards.viewer.answers import first_scored, scene_samples
from threedrs_dashboards.viewer.cells import view_cells
from threedrs_dashboards.viewer.places import Places, Token
from threedrs_dashboards.viewer.scene_data import open_scene
from threedrs_dashboards.viewer.sources import forget_oldest
from threedrs_dashboards.viewer.state import Chosen, ViewState
from threedrs_dashboards.viewer.subject import Subject
from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace, find_workspace

RUN = RunSummary("tiny-1", "tiny", RunState.PARTIAL)
STATE = ViewState("val00001", "", Token(0, 0, 0), 1, -1)
SCENE = "/scenes?run=tiny-1&cell=vggt&seed=1&against=baseline&scene=val00001"


@pytest.fixture(scope="module")
def workspace(tiny_root: Path) -> Iterator[Workspace]:
    with find_workspace(str(tiny_root), environment={}) as workspace:
        yield workspace


def table(client: TestClient, url: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(url).text)))


def data(client: TestClient, words: str = "") -> Any:
    return client.get(SCENE.replace("/scenes?", "/scenes/data.json?") + words).json()


def refusal(client: TestClient, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 404
    (message,) = re.findall(r'role="alert">(.*?)</p>', answer.text, re.S)
    return str(message)


def test_scenes_are_listed_with_their_scores(scenes: TestClient) -> None:
    rows = table(scenes, "/scenes?run=tiny-1&cell=vggt&order=highest+score&over=one&csv=scenes")
    assert [row["scene"] for row in rows[:2]] == ["val00004", "val00003"]
    assert float(rows[0]["score"]) == pytest.approx(0.61)
    assert [row["score"] for row in rows[-3:]] == ["", "", ""]
    found = table(scenes, "/scenes?run=tiny-1&find=val&csv=scenes")
    assert len(found) == 5


def test_numbers_of_scenes_are_means_over_seeds_with_their_questions(scenes: TestClient) -> None:
    url = "/scenes?run=tiny-1&cell=vggt&csv=scenes"

    def column(words: str, name: str) -> dict[str, float]:
        return {row["scene"]: float(row[name]) for row in table(scenes, url + words) if row[name]}

    for name in ("score", "scanrefer/acc@0.25", "score_baseline"):
        one, two, both = (column(each, name) for each in ("&over=one", "&over=one&seed=2", ""))
        assert both == {scene: pytest.approx((one[scene] + two[scene]) / 2) for scene in one}
    assert one != two
    questions = column("", "questions")
    first = answered(scenes, "val00000")
    assert questions["val00000"] == sum(each == "scanrefer" for each in first)
    text = scenes.get("/scenes?run=tiny-1&cell=vggt").text
    assert "ScanRefer: accuracy at IoU 0.25</abbr> (%)" in text
    assert "2 seeds that both have" in text
    assert "seed 1 alone" in scenes.get("/scenes?run=tiny-1&cell=vggt&over=one").text


def answered(scenes: TestClient, scene: str) -> list[str]:
    """Benchmarks of the questions of a scene, as its page lists them."""
    text = scenes.get(f"/scenes?run=tiny-1&cell=vggt&scene={scene}").text
    return re.findall(r"<option value=\"[^\"]+\"(?: selected)?>(\w+): ", text)


def test_the_metric_goes_along_to_the_scene_and_back(scenes: TestClient) -> None:
    url = "/scenes?run=tiny-1&cell=vggt&metric=scanrefer%2Facc%400.25"
    link = re.search(r'class="thumbnail" href="([^"]+)"', scenes.get(url).text)
    assert link is not None and "metric=scanrefer%2Facc%400.25" in link[1]
    text = scenes.get(link[1].replace("&amp;", "&")).text
    assert "<dt>scanrefer</dt>" in text
    back = re.search(r'<a href="([^"]+)">All scenes', text)
    assert back is not None and "metric=scanrefer%2Facc%400.25" in back[1]
    assert re.search(r'rel="(?:next|prev)" href="[^"]+metric=scanrefer%2Facc%400.25', text)


def test_a_scene_opens_with_the_first_question_that_the_metric_scores(
    scenes: TestClient,
) -> None:
    store = scenes.app.state.store  # type: ignore[attr-defined]
    (cell,) = view_cells(store.database, "tiny-1", [("vggt", 1)])
    samples = scene_samples(cell, "val00000", store.artifacts)[::-1]
    assert samples[0].benchmark == "scanqa"
    named = first_scored(samples, cell, "val00000", "scanrefer/acc@0.25", store.database)
    assert next(each.benchmark for each in samples if each.sample_id == named) == "scanrefer"
    assert first_scored(samples, cell, "val00000", "no/metric", store.database) == ""


def test_scenes_come_worst_first_with_a_picture_each(scenes: TestClient) -> None:
    rows = table(scenes, "/scenes?run=tiny-1&cell=vggt&csv=scenes")
    values = [float(row["scanrefer/acc@0.25"]) for row in rows if row["scanrefer/acc@0.25"]]
    assert len(values) == 5 and values == sorted(values)
    gains = table(scenes, "/scenes?run=tiny-1&cell=vggt&order=metric%27s+largest+gain&csv=scenes")
    known = [float(row["scanrefer/acc@0.25_gain"]) for row in gains[:5]]
    assert known == sorted(known, reverse=True)
    text = scenes.get("/scenes?run=tiny-1&cell=vggt").text
    picture = re.search(r'src="(/scenes/thumbnail.png[^"]+)"', text)
    assert picture is not None
    answer = scenes.get(picture[1].replace("&amp;", "&"))
    assert Image.open(io.BytesIO(answer.content)).size[0] <= 112
    missing = scenes.get("/scenes/thumbnail.png?run=tiny-1&cell=vggt&scene=../../etc")
    assert missing.status_code == 404


def test_a_first_visit_shows_a_taught_cell_against_the_first(scenes: TestClient) -> None:
    state = scenes.get("/scenes/data.json?scene=val00001").json()["state"]
    assert (state["cell"], state["against"], state["seed"]) == ("vggt", "baseline", 1)


def test_a_url_leads_to_the_same_view_again(scenes: TestClient) -> None:
    first = data(scenes, "&sample=&token=2,3&a=2&b=0&layer=1")
    words = "&".join(f"{key}={value}" for key, value in first["state"].items())
    assert scenes.get(f"/scenes/data.json?{words}").json() == first
    assert first["state"]["token"] == "2,3" and first["state"]["b"] == 0


def test_every_link_of_a_token_keeps_the_rest_of_the_state(scenes: TestClient) -> None:
    text = scenes.get(SCENE + "&a=1&b=2&token=0,0").text
    links = re.findall(r'href="([^"]*)" data-token="(\d),(\d)"', text)
    assert len(links) == 16
    for href, row, column in links:
        words = parse_qs(urlsplit(href.replace("&amp;", "&")).query)
        assert words["token"] == [f"{row},{column}"]
        assert (words["scene"], words["a"], words["b"]) == (["val00001"], ["1"], ["2"])


def test_the_second_view_holds_each_models_own_cosines(
    scenes: TestClient, workspace: Workspace
) -> None:
    found = data(scenes, "&a=0&b=2&token=1,3")["second_view"]
    ours, against = view_cells(workspace.database, "tiny-1", [("vggt", 1), ("baseline", 1)])
    scene = PreparedScenes(ours.folder("prepare", workspace.store))["val00001"]
    for name, cell in (("ours", ours), ("baseline", against)):
        student = open_student(cell.folder("finetune", workspace.store))
        features = student_features(student, scene.frame_batch(), scene.coordinates, -1).numpy()
        unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
        wanted = unit[2] @ unit[0, 1, 3]
        got = np.array([token["cosine"] for token in found[name]["tokens"]]).reshape(4, 4)
        assert np.allclose(got, wanted, atol=2e-3)
    assert found["teacher"]["tokens"][0]["cosine"] != found["ours"]["tokens"][0]["cosine"]


def test_other_layers_have_other_features(scenes: TestClient) -> None:
    first, last = (
        data(scenes, f"&a=0&b=1&token=0,0&layer={layer}")["second_view"]["ours"]["tokens"]
        for layer in (0, -1)
    )
    assert first != last
    assert "no layer 9" in data(scenes, "&layer=9")["second_view"]["ours"]["why_missing"]


def test_features_made_once_are_read_from_the_cache(scenes: TestClient, tiny_root: Path) -> None:
    data(scenes, "&layer=2")
    made = sorted((tiny_root / "cache" / "dashboard-features").rglob("*.2/val00001.arrow"))
    assert len(made) == 2
    before = [path.read_bytes() for path in made]
    assert data(scenes, "&layer=2") == data(scenes, "&layer=2")
    assert [path.read_bytes() for path in made] == before


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        path = tmp_path / name / "scene.arrow"
        path.parent.mkdir()
        path.write_bytes(b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    forget_oldest(tmp_path, 200)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.arrow")) == ["new", "old"]
    forget_oldest(tmp_path, 0)
    assert not list(tmp_path.rglob("*.arrow"))


def test_answers_stand_beside_each_other_with_their_scores(scenes: TestClient) -> None:
    samples = re.findall(r'<option value="(scan[^"]*)"', scenes.get(SCENE).text)
    text = next(each for each in samples if each.startswith("scanqa"))
    rows = table(scenes, f"{SCENE}&sample={text}&csv=answers")
    assert [row["cell_id"] for row in rows] == ["vggt", "baseline", "blind", "failed"]
    assert rows[0]["answer"] == "answer of vggt-1" and rows[1]["answer"] == "answer of baseline-1"
    assert "no finished step" in rows[3]["missing"]
    ground = next(each for each in samples if each.startswith("scanrefer"))
    rows = table(scenes, f"{SCENE}&sample={ground}&csv=answers")
    assert rows[0]["answer"].startswith("at (")
    assert {row["scanrefer/acc@0.25"] for row in rows[:3]} <= {"0.0", "100.0"}


def test_boxes_of_truth_baseline_and_ours_are_drawn_and_saved(
    scenes: TestClient, workspace: Workspace
) -> None:
    text = scenes.get(SCENE).text
    (chart,) = re.findall(r'id="plot-room">(.*?)</script>', text, re.S)
    names = [trace["name"] for trace in json.loads(chart)["data"]]
    assert names[1:4] == ["ground truth (1)", "baseline (1)", "ours (1)"]
    colours = [trace["line"]["color"] for trace in json.loads(chart)["data"][1:4]]
    assert colours == ["#2166d1", "#c81e2e", "#14833b"]
    rows = table(scenes, f"{SCENE}&csv=room")
    (ours,) = view_cells(workspace.database, "tiny-1", [("vggt", 1)])
    scene = PreparedScenes(ours.folder("prepare", workspace.store))["val00001"]
    shown = {row["group"] for row in rows}
    assert shown == {"ground truth", "baseline", "ours", "other objects"}
    assert len([row for row in rows if row["group"] in ("ground truth", "other objects")]) == len(
        scene.boxes
    )


@pytest.mark.parametrize("row", ["colour", "depth", "teacher", "baseline", "ours"])
def test_pictures_show_all_frames_side_by_side(scenes: TestClient, row: str) -> None:
    answer = scenes.get(SCENE.replace("/scenes?", "/scenes/strip.png?") + f"&row={row}")
    assert answer.headers["Content-Type"] == "image/png"
    width, height = Image.open(io.BytesIO(answer.content)).size
    assert width == 3 * height
    assert height == (64 if row in ("colour", "depth") else 4)


def test_depth_is_cut_as_the_students_frames_are(tiny_root: Path) -> None:
    with find_workspace(str(tiny_root), environment={}) as workspace:
        (cell,) = view_cells(workspace.database, "tiny-1", [("vggt", 1)])
        scene = open_scene(cell, "val00001", workspace.store)
    assert scene.frames is not None
    wide = replace(scene.frames, depth=np.repeat(scene.frames.depth, 2, axis=2))
    seen = Subject(
        Store(workspace), Chosen(RUN, (), cell, cell), replace(scene, frames=wide),
        Places(scene.prepared), (), None, STATE,
    )  # fmt: skip
    assert seen.depth is not None and seen.depth.shape == (3, 64, 128)
    cut = replace(cell, params={"prepare": {"resize": "crop"}})
    seen = replace(seen, chosen=Chosen(RUN, (), cut, cut))
    assert seen.depth is not None and np.array_equal(seen.depth, wide.depth[:, :, 32:96])


def test_cosines_of_all_frames_can_be_saved(scenes: TestClient) -> None:
    rows = table(scenes, f"{SCENE}&a=0&token=1,1&csv=tokens")
    assert len(rows) == 3 * 16
    chosen = rows[5]
    assert (chosen["row"], chosen["column"]) == ("1", "1")
    assert float(chosen["cosine_ours"]) == pytest.approx(1.0)
    assert {"cosine_teacher", "cosine_baseline", "shared_point_pairs"} < chosen.keys()


def test_a_blind_student_says_so_and_the_rest_is_shown(scenes: TestClient) -> None:
    view = scenes.get("/scenes/data.json?cell=blind&scene=val00001").json()["second_view"]
    assert "blind" in view["ours"]["why_missing"]
    assert "learns from no teacher" in view["teacher"]["why_missing"]
    assert view["baseline"]["tokens"]


def test_a_cell_that_failed_still_shows_its_scenes(scenes: TestClient) -> None:
    answer = scenes.get("/scenes?cell=failed&scene=val00001")
    assert answer.status_code == 200 and "no finished step" in answer.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("scene=..%2F..%2Fresults", "has no scene"),
        ("scene=%2Fetc%2Fpasswd", "has no scene"),
        ("scene=val0001", "did you mean"),
        ("cell=vgtt", "did you mean &#39;vggt&#39;"),
        ("cell=..%2F..", "has no cell"),
        ("run=nothing", "no run is called"),
        ("scene=val00001&token=4,0", "rows and columns end at 3"),
        ("scene=val00001&token=x", "is no token"),
        ("scene=val00001&sample=q", "has no sample"),
        ("scene=val00001&a=first", "no whole number"),
        ("seed=7", "no cell has the seed 7; there are 1, 2"),
        ("against=..", "has no cell"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(scenes: TestClient, words: str, says: str) -> None:
    assert says in refusal(scenes, f"/scenes?{words}")


@pytest.mark.parametrize("page", ["views", "strip.png", "frame.png", "data.json"])
def test_no_part_of_a_scene_opens_a_path(scenes: TestClient, page: str) -> None:
    assert "has no scene" in refusal(scenes, f"/scenes/{page}?scene=..%2F..%2F..%2Fetc%2Fpasswd")


def test_the_part_that_is_fetched_is_that_of_the_page(scenes: TestClient) -> None:
    words = "&a=1&b=0&token=3,3"
    part = scenes.get(SCENE.replace("/scenes?", "/scenes/views?") + words).text
    assert part.startswith('<section id="views"')
    assert part.strip() in scenes.get(SCENE + words).text


def test_pages_say_in_words_what_maps_show(scenes: TestClient) -> None:
    text = scenes.get(SCENE).text
    for view in re.findall(r'<figure class="view view-.*?</figure>', text, re.S):
        label = re.search(r'role="img" aria-label="([^"]*)"', view)
        assert label and "Most alike: row" in label[1]


def test_frames_that_were_chosen_by_what_they_see_are_found_by_name(tmp_path: Path) -> None:
    config = MicroWorldConfig(train=1, text=1, val=1, num_frames=9, image_size=32)
    write_world(config, tmp_path / "world")
    settings = RGBDFolderConfig(root=str(tmp_path / "world"))
    chosen = PrepareConfig(num_frames=3, image_size=32, sampling="coverage")
    prepared = prepare_scene(settings.open(tmp_path).load("val00000"), None, chosen)
    write_prepared(prepared, tmp_path)
    found = scene_data._open(tmp_path, tmp_path, settings.model_dump_json(), "val00000")
    assert found.frames is not None
    assert found.frames.frame_names == prepared.frame_names
    assert (
        found.frames.frame_names
        != choose_frames(settings.open(tmp_path).load("val00000"), 3).frame_names
    )
