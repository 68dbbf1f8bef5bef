"""The Scenes and Correspondence pages in a real browser."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e

SCENE = "/scenes?run=tiny-1&cell=vggt&seed=1&against=baseline&scene=val00001&a=0&b=1&token=0,0"
CHOSEN = "#views a[aria-current]"
ENTER, TAB, LEFT, UP, RIGHT, DOWN = (
    "\ue007", "\ue004", "\ue012", "\ue013", "\ue014", "\ue015",
)  # fmt: skip


def words(browser: Browser) -> dict[str, str]:
    """The query string."""
    return {name: values[0] for name, values in parse_qs(urlsplit(browser.url).query).items()}


def second_view(browser: Browser) -> list[str]:
    """Words below the maps."""
    return browser.texts(".view figcaption")


def test_a_click_on_a_token_shows_it_in_the_other_view_and_in_3d(browser: Browser) -> None:
    browser.open(SCENE)
    before = second_view(browser)
    browser.find('#views a[data-token="2,3"]').click()
    browser.settle()
    assert words(browser)["token"] == "2,3"
    assert second_view(browser) != before
    assert browser.find(CHOSEN).get_attribute("data-token") == "2,3"
    place = browser.run("return JSON.parse(document.getElementById('views').dataset.place)")
    drawn = browser.run(
        "const trace = document.querySelector('#chart-room [data-plot]').data"
        ".find((each) => each.name === 'token'); return [trace.x[0], trace.y[0], trace.z[0]];"
    )
    assert drawn == pytest.approx(place)
    browser.picture("scene-token")


def test_reloading_the_url_gives_the_same_view(browser: Browser) -> None:
    browser.open(SCENE)
    browser.find('#views a[data-token="3,1"]').click()
    browser.settle()
    shown, url = second_view(browser), browser.url
    browser.open("/runs")
    browser.open(url)
    assert second_view(browser) == shown
    assert browser.find(CHOSEN).get_attribute("data-token") == "3,1"


def test_back_returns_to_the_token_before(browser: Browser) -> None:
    browser.open(SCENE)
    shown = second_view(browser)
    browser.find('#views a[data-token="1,1"]').click()
    browser.settle()
    browser.driver.back()
    browser.settle()
    assert words(browser)["token"] == "0,0"
    assert second_view(browser) == shown


def test_tokens_are_chosen_by_keyboard(browser: Browser) -> None:
    browser.open(SCENE)
    reachable = browser.run(
        "return [...document.querySelectorAll('#views a[data-token]')]"
        ".filter((each) => each.tabIndex === 0).length"
    )
    assert reachable == 1
    for _ in range(40):
        browser.press(TAB)
        if browser.driver.switch_to.active_element.get_attribute("data-token"):
            break
    browser.press(RIGHT)
    browser.press(RIGHT)
    browser.press(DOWN)
    browser.press(LEFT)
    browser.press(UP)
    browser.press(DOWN)
    browser.press(ENTER)
    browser.settle()
    assert words(browser)["token"] == "1,1"
    focus = browser.driver.switch_to.active_element
    assert focus.get_attribute("data-token") == "1,1"


def test_choosing_another_cell_and_layer_keeps_token_and_views(browser: Browser) -> None:
    browser.open(SCENE.replace("0,0", "2,2"))
    browser.choose("layer", "1")
    browser.choose("cell", "baseline")
    state = words(browser)
    assert (state["layer"], state["cell"], state["token"], state["b"]) == (
        "1", "baseline", "2,2", "1",
    )  # fmt: skip
    assert "learns from no teacher" in browser.find(".view-teacher").text


def test_numbers_are_saved_as_csv(browser: Browser) -> None:
    browser.open(SCENE)
    browser.find('#views a[href*="csv=tokens"]').click()
    rows = list(csv.DictReader(io.StringIO(browser.downloaded("tokens.csv"))))
    assert len(rows) == 48 and {"cosine_teacher", "cosine_ours"} < rows[0].keys()
    browser.find('#chart-room a[href*="csv=room"]').click()
    assert "ground truth" in browser.downloaded("room.csv")


def test_every_picture_of_a_scene_arrives(browser: Browser) -> None:
    browser.open(SCENE)
    broken = browser.run(
        "return Promise.all([...document.querySelectorAll('svg image')].map(async (each) => {"
        " const answer = await fetch(each.getAttribute('href'));"
        " return answer.ok ? '' : each.getAttribute('href'); }))"
        ".then((found) => found.filter(Boolean))"
    )
    assert broken == []
    browser.picture("scene")


def test_scenes_are_ordered_and_found(browser: Browser) -> None:
    browser.open("/scenes?run=tiny-1&cell=vggt")
    browser.choose("order", "highest score")
    assert browser.texts("#scenes tbody th")[:2] == ["val00004", "val00003"]
    browser.picture("scenes")
    browser.find('input[name="find"]').send_keys("00002", ENTER)
    browser.settle()
    assert set(browser.texts("#scenes tbody th")) == {"val00002", "train00002"}


def test_correspondence_is_filtered_and_leads_to_scenes(browser: Browser) -> None:
    browser.open("/correspondence?run=tiny-1")
    browser.picture("correspondence")
    browser.choose("unit", "scene")
    assert words(browser)["unit"] == "scene"
    shown = browser.texts("#points tbody tr")
    assert len(shown) == 5
    browser.open(browser.url)
    assert browser.texts("#points tbody tr") == shown
    browser.find("#points tbody a").click()
    browser.settle()
    assert words(browser)["scene"] == "val00000" and words(browser)["cell"] == "vggt"


def test_a_click_on_a_point_opens_its_sample(browser: Browser) -> None:
    browser.open("/correspondence?run=tiny-1&cell=vggt")
    browser.run(
        "document.querySelector('#chart-scatter [data-plot]').emit('plotly_click', {points: ["
        "{text: document.querySelector('#points tbody a').textContent, customdata: ['val00000', 1]}"
        "]})"
    )
    browser.settle()
    assert words(browser)["scene"] == "val00000"
    assert words(browser)["sample"].startswith("scanrefer_val00000")


def test_nothing_lies_over_the_legend_of_the_room_nor_fills_three_rows_of_navigation(
    browser: Browser,
) -> None:
    browser.resize(800)
    try:
        browser.open(SCENE)
        gap = browser.run(
            "const place = document.querySelector('#chart-room');"
            "const box = (name) => place.querySelector(name).getBoundingClientRect();"
            "return box('.legend').top - box('.modebar').bottom"
        )
        tops = browser.run(
            "return [...new Set([...document.querySelectorAll('header li')]"
            ".map((each) => each.offsetTop))].length"
        )
    finally:
        browser.resize(1400)
    assert gap >= 0 and tops <= 2
