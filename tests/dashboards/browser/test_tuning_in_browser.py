"""Brushing trials of a study in a real browser, by keyboard and by a box."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from threedrs_dashboards.testing.tiny_study import STUDY

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e

PAGE = f"/tuning?study={STUDY}"
LIT_ROWS = "return [...document.querySelectorAll('#trials tr.lit')].map((row) => row.dataset.trial)"
LIT_DOTS = """
const plot = document.querySelector(`[data-plot=plot-${arguments[0]}]`);
return plot.data.flatMap((trace) => trace.marker && Array.isArray(trace.marker.opacity)
  ? trace.customdata.filter((number, index) => trace.marker.opacity[index] === 1) : []);
"""
LIT_LINES = """
const plot = document.querySelector("[data-plot=plot-parallel]");
const lit = plot.data.filter((trace) => trace.meta === "lit").flatMap((trace) => trace.customdata);
return [...new Set(lit.filter((number) => number !== null))].sort((one, other) => one - other);
"""
LEGEND = """
const plot = document.querySelector("[data-plot=plot-parallel]");
return [...plot.querySelectorAll(".legend .layers")].map((each) => getComputedStyle(each).opacity);
"""


def test_a_range_by_keyboard_lights_up_the_same_trials_everywhere(browser: Browser) -> None:
    browser.open(PAGE)
    browser.find("#brush select[name=brush]").send_keys("alignment.weight")
    browser.find("#brush input[name=low]").send_keys("3")
    browser.find("#brush input[name=high]").send_keys("5")
    browser.wait_for("return document.getElementById('lit').textContent.startsWith('3 of 10')")
    assert browser.run(LIT_ROWS) == ["2", "3", "4"]
    assert browser.run(LIT_DOTS, "history") == [2, 4]  # trial 3 was pruned: it has no value
    assert set(browser.run(LIT_DOTS, "slices")) == {2, 4}
    assert browser.run(LIT_LINES) == [2, 4]
    browser.open(browser.url)
    browser.wait_for("return document.querySelector('[data-plot=plot-parallel]').data.length > 6")
    assert browser.run(LIT_LINES) == [2, 4] and browser.run(LIT_ROWS) == ["2", "3", "4"]
    browser.find("#tick-lit").click()
    ticked = "document.querySelectorAll('#trials tr.lit input[form=compare]:checked').length"
    assert browser.run(f"return {ticked}") == 3


def test_a_box_in_a_plot_lights_up_its_trials_and_a_double_click_none(browser: Browser) -> None:
    browser.open(PAGE)
    ready = "document.querySelector('[data-plot=plot-history]').layout.dragmode === 'select'"
    browser.wait_for(f"return {ready}")
    plot = browser.find("[data-plot=plot-history] .nsewdrag")
    half = plot.size["width"] // 2
    browser.drag(plot, (5, 0), (half - 5, 5 - plot.size["height"] // 2))
    browser.wait_for("return document.querySelectorAll('#trials tr.lit').length > 0")
    lit = browser.run(LIT_ROWS)
    assert set(map(int, lit)) == set(browser.run(LIT_LINES)) < set(range(10))
    assert parse_qs(urlsplit(browser.url).query)["trials"] == [",".join(lit)]
    browser.find("#clear-lit").click()
    assert browser.run(LIT_ROWS) == [] and browser.run(LIT_LINES) == []
    assert "trials" not in parse_qs(urlsplit(browser.url).query)


def test_lit_trials_stay_lit_when_the_colours_change(browser: Browser) -> None:
    browser.open(f"{PAGE}&trials=2,4")
    lit = "document.querySelector('[data-plot=plot-parallel]')"
    browser.wait_for(f"return {lit}.data.some((trace) => trace.meta === 'lit')")
    try:
        browser.emulate_scheme("dark")
        browser.wait_for(f"return {lit}.layout.paper_bgcolor === '#161c26'")
        browser.wait_for(f"return {lit}.data.some((trace) => trace.meta === 'lit')")
        assert browser.run(LIT_LINES) == [2, 4] and browser.run(LIT_DOTS, "history") == [2, 4]
        assert browser.run(f"return {lit}.layout.dragmode") == "select"
        assert set(browser.run(LEGEND)) == {"1"}
    finally:
        browser.emulate_scheme("light")


def test_a_box_in_the_plot_of_curves_finds_trials(browser: Browser) -> None:
    browser.open(PAGE)
    ready = "document.querySelector('[data-plot=plot-curves]').layout.dragmode === 'select'"
    browser.wait_for(f"return {ready}")
    plot = browser.find("[data-plot=plot-curves] .nsewdrag")
    half, above = plot.size["width"] // 2, plot.size["height"] // 2
    browser.drag(plot, (5 - half, 5 - above), (2 * half - 10, 2 * above - 10))
    browser.wait_for("return document.querySelectorAll('#trials tr.lit').length > 0")
    assert browser.run(LIT_ROWS) == ["3", "7"]  # only the pruned have curves here
