"""Every page of the navigation loads in a real browser, and needs nothing from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from threedrs_dashboards.pages import all_pages

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.path.strip("/"))
def test_a_page_loads_without_a_word_on_the_console(browser: Browser, page: object) -> None:
    path = page.path  # type: ignore[attr-defined]
    browser.open(f"{path}?run=tiny-1")
    assert browser.find("h1").text
    assert browser.driver.title.endswith("threedrs")
    assert browser.find('nav a[aria-current="page"]').text == page.title  # type: ignore[attr-defined]
    browser.picture(path.strip("/").replace("/", "-"))


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.path.strip("/"))
def test_everything_that_acts_has_a_name(browser: Browser, page: object) -> None:
    browser.open(f"{page.path}?run=tiny-1")  # type: ignore[attr-defined]
    nameless = browser.run(
        "return [...document.querySelectorAll("
        "'main a[href], main button, main select, main input')]"
        ".filter((each) => each.type !== 'hidden' && !each.closest('.js-plotly-plot'))"
        ".filter((each) => !(each.textContent.trim() || each.getAttribute('aria-label')"
        " || (each.labels && each.labels.length && each.labels[0].textContent.trim())))"
        ".map((each) => each.outerHTML)"
    )
    assert nameless == []
    hidden = browser.run(
        "return [...document.querySelectorAll('[role=img]')]"
        ".filter((each) => each.querySelector('a[href], button, [tabindex]'))"
        ".map((each) => each.getAttribute('aria-label'))"
    )
    assert hidden == [], "screen readers do not enter pictures"


def test_the_keyboard_reaches_the_content_first(browser: Browser) -> None:
    browser.open("/runs")
    browser.press("\ue004")
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.press("\ue007")
    assert browser.run("return location.hash") == "#content"


def test_the_watch_sees_a_word_on_the_console_and_a_request_to_elsewhere(
    chromium: Browser,
) -> None:
    chromium.open("/runs")
    chromium.collect()
    chromium.requests.clear()
    chromium.console.clear()
    chromium.run("console.error('spoken')")
    chromium.run("return fetch('http://elsewhere.invalid/').catch(() => null)")
    chromium.collect()
    assert any("spoken" in each for each in chromium.console)
    assert any("Content Security Policy" in each for each in chromium.console)
    chromium.requests.append("https://elsewhere.invalid/plotly.js")
    assert chromium.strangers() == ["https://elsewhere.invalid/plotly.js"]
