"""Comparing, sorting and the dark colours in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e

COMPARE = "/compare?cell=tiny-1:baseline&cell=tiny-1:vggt"
LEFT, RIGHT = "\ue012", "\ue014"


def words(browser: Browser) -> dict[str, list[str]]:
    """The query string."""
    return parse_qs(urlsplit(browser.url).query)


def test_rows_are_ticked_and_compared(browser: Browser) -> None:
    browser.open("/table?run=tiny-1")
    for cell in ("baseline", "vggt"):
        browser.find(f'input[form="compare"][value="tiny-1:{cell}"]').click()
    browser.follow("form.compare button")
    assert words(browser)["cell"] == ["tiny-1:baseline", "tiny-1:vggt"]
    assert [each.strip() for each in browser.texts("#answers tbody th")] == ["baseline", "vggt"]
    browser.picture("compare")


def test_boxes_are_drawn_into_frames_that_arrive(browser: Browser) -> None:
    browser.open(COMPARE)
    drawn = browser.run(
        "return [...document.querySelectorAll('.drawn-frames path.box:not(.under)')]"
        ".filter((each) => each.getBBox().width > 1 && getComputedStyle(each).stroke !== 'none')"
        ".length"
    )
    assert drawn >= 2
    broken = browser.run(
        "return Promise.all([...document.querySelectorAll('.drawn-frames image')].map("
        "async (each) => (await fetch(each.getAttribute('href'))).ok))"
        ".then((all) => all.includes(false))"
    )
    assert broken is False


def test_the_slider_shows_another_seed_of_the_same_question(browser: Browser) -> None:
    browser.open(COMPARE)
    question = browser.run("return document.getElementById('asked').dataset.sample")
    browser.find("#seed-slider").send_keys(RIGHT, RIGHT)
    browser.wait_for("return new URLSearchParams(location.search).get('seed') === '2'")
    browser.settle()
    assert words(browser)["sample"] == [question]
    assert browser.texts("#answers tbody td:nth-child(2)") == ["2", "2"]
    assert browser.run("return document.activeElement.id") == "seed-slider"
    browser.open(browser.url)
    assert browser.texts("#answers tbody td:nth-child(2)") == ["2", "2"]


def test_the_slider_over_steps_moves_a_line_and_the_numbers(browser: Browser) -> None:
    browser.open(COMPARE)
    browser.find("#step-slider").send_keys(LEFT, LEFT)
    browser.wait_for("return document.getElementById('at-step').dataset.step === '30'")
    assert words(browser)["step"] == ["30"]
    assert browser.texts("#at-step tbody small") == ["of step 20", "of step 20"]
    line = "document.querySelector('#curves [data-plot]').layout.shapes[0].x0"
    assert browser.run(f"return {line}") == 30
    assert browser.run("return document.activeElement.id") == "step-slider"
    browser.open(browser.url)
    assert browser.run(f"return {line}") == 30
    assert browser.run("return document.getElementById('at-step').dataset.step") == "30"


def test_a_page_that_was_opened_before_the_training_takes_its_steps_along(browser: Browser) -> None:
    browser.open(COMPARE)
    field = "document.querySelector('form.choices [name=step]')"
    browser.run(f"{field}.disabled = true; {field}.closest('label').hidden = true")
    browser.run("document.dispatchEvent(new Event('renewed'))")
    browser.find("#step-slider").send_keys(LEFT)
    browser.wait_for(f"return {field}.value === document.getElementById('at-step').dataset.step")
    assert browser.run(f"return [{field}.disabled, {field}.closest('label').hidden]") == [False] * 2


def test_sliders_that_move_at_once_both_count(browser: Browser) -> None:
    browser.open(COMPARE)
    browser.run(
        "for (const [id, value] of [['seed-slider', 2], ['step-slider', 2]]) {"
        "const range = document.getElementById(id); range.value = value;"
        "for (const kind of ['input', 'change'])"
        "range.dispatchEvent(new Event(kind, { bubbles: true })); }"
    )
    browser.wait_for("return new URLSearchParams(location.search).get('seed') === '2'")
    browser.settle()
    step = browser.run("return document.getElementById('at-step').dataset.step")
    assert words(browser)["step"] == [step]
    assert browser.texts("#answers tbody td:nth-child(2)") == ["2", "2"]
    assert browser.run("return Number(document.getElementById('step-slider').value)") == 2
    assert "seed 2" in browser.find("#at-step caption").text


def test_a_server_that_is_gone_leaves_nothing_busy(browser: Browser) -> None:
    browser.open(COMPARE)
    browser.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
    browser.find("#step-slider").send_keys(LEFT)
    browser.find("#seed-slider").send_keys(RIGHT)
    browser.wait_for(
        "return document.querySelectorAll('#at-step.stale, #asked.stale').length === 2"
    )
    assert browser.run("return document.querySelectorAll('[aria-busy]').length") == 0


def test_the_line_of_a_step_stays_when_the_colours_change(browser: Browser) -> None:
    browser.open(COMPARE)
    browser.find("#step-slider").send_keys(LEFT, LEFT)
    browser.wait_for("return document.getElementById('at-step').dataset.step === '30'")
    plot = "document.querySelector('#curves [data-plot]').layout"
    try:
        browser.emulate_scheme("dark")
        browser.wait_for(f"return {plot}.paper_bgcolor === '#161c26' && {plot}.shapes.length")
        assert browser.run(f"return {plot}.shapes[0].x0") == 30
    finally:
        browser.emulate_scheme("light")


def test_the_worst_scene_is_two_clicks_away(browser: Browser) -> None:
    browser.open("/runs?run=tiny-1")
    browser.follow('nav a[href^="/scenes"]')
    shown = [float(each) for each in browser.texts("#scenes tbody td:nth-child(3)") if each != "-"]
    assert len(shown) > 1 and shown == sorted(shown)
    worst = browser.texts("#scenes tbody th")[0].strip()
    browser.follow("#scenes tbody a")
    assert words(browser)["scene"] == [worst]


def test_a_column_is_sorted_both_ways(browser: Browser) -> None:
    browser.open("/table?run=tiny-1")
    for direction in ("descending", "ascending"):
        browser.follow("thead th:last-child a")
        assert browser.find("thead th:last-child").get_attribute("aria-sort") == direction


def test_the_navigation_keeps_the_cells_that_are_looked_at(browser: Browser) -> None:
    browser.open("/cell?run=tiny-1&cell=blind&against=vggt&seed=2")
    browser.follow('nav a[href^="/scenes"]')
    kept = words(browser)
    assert (kept["cell"], kept["against"], kept["seed"]) == (["blind"], ["vggt"], ["2"])
    browser.follow('nav a[href^="/compare"]')
    assert words(browser)["cell"] == ["vggt", "blind"]


def test_dark_colours_reach_page_and_plots(browser: Browser) -> None:
    browser.emulate_scheme("dark")
    try:
        browser.open(COMPARE)
        body = "getComputedStyle(document.body)"
        light_on_dark = browser.run(
            "const sum = (rgb) => rgb.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);"
            f"return sum({body}.color) > sum({body}.backgroundColor) + 300"
        )
        assert light_on_dark is True
        plot = "document.querySelector('[data-plot=plot-room]')"
        assert browser.run(f"return {plot}.layout.paper_bgcolor") == "#161c26"
        browser.picture("compare-dark")
    finally:
        browser.emulate_scheme("light")
