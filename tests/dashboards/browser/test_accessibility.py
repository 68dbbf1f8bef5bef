"""axe-core finds nothing on any page, in light and dark colours, at 1,400 and 800 pixels.

`.ci/browser` brings Chromium and axe-core; without them these tests are left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from threedrs_dashboards.pages import all_pages
from threedrs_dashboards.testing.tiny_study import STUDY

if TYPE_CHECKING:
    from tests.dashboards.browser.conftest import Browser

pytestmark = pytest.mark.e2e

AXE = "THREEDRS_AXE"
"""The file axe.min.js."""
LOOKS = (("light", 1400), ("dark", 800), ("light", 800), ("dark", 1400))
STATES = {
    "runs": "/runs",
    "run": "/runs?run=tiny-1",
    "reading": "/reading?run=tiny-1",
    "table": "/table?run=tiny-1",
    "compare-nothing": "/compare",
    "compare": "/compare?cell=tiny-1:baseline&cell=tiny-1:vggt&step=20",
    "cell": "/cell?run=tiny-1&cell=vggt",
    "correspondence": "/correspondence?run=tiny-1",
    "scenes": "/scenes?run=tiny-1",
    "scene": "/scenes?run=tiny-1&cell=vggt&scene=val00000&token=0,0",
    "ask": "/ask?run=tiny-1&cell=vggt&scene=val00000",
    "tuning": "/tuning",
    "study": f"/tuning?study={STUDY}&brush=alignment.weight&low=3&high=5",
    "glossary": "/glossary",
    "error": "/cell?run=nothing",
}
_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { exclude: [[".modebar"]], resultTypes: ["violations"] }).then((found) => done(
  found.violations.map((each) => `${each.impact} ${each.id}: ${each.nodes.slice(0, 3)
    .map((node) => node.html.slice(0, 200) + " | " + node.failureSummary).join("; ")}`)));
"""
_TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def axe() -> str:
    """The script; its tests are left out where it is not here."""
    file = Path(os.environ.get(AXE, ""))
    if not file.is_file():
        pytest.skip(f"{AXE} names no axe.min.js: make test-browser fetches one")
    return file.read_text(encoding="utf-8")


def test_every_page_of_the_navigation_is_looked_at() -> None:
    assert {page.path for page in all_pages()} <= {
        each.partition("?")[0] for each in STATES.values()
    }


@pytest.mark.parametrize("name", STATES)
def test_nothing_is_found(chromium: Browser, axe: str, name: str) -> None:
    found: dict[str, Any] = {}
    chromium.open(STATES[name])
    chromium.bring(axe)
    try:
        for scheme, width in LOOKS:
            chromium.resize(width)
            chromium.emulate_scheme(scheme)
            chromium.settle()
            found[f"{scheme} {width}"] = chromium.driver.execute_async_script(_RUN)
            assert chromium.run(_TOO_WIDE) <= 0, f"{name} is wider than {width} pixels"
            chromium.picture(f"{name}-{width}-{scheme}")
    finally:
        chromium.resize(1400)
        chromium.emulate_scheme("light")
    assert {look: each for look, each in found.items() if each} == {}


def test_axe_finds_what_is_wrong(chromium: Browser, axe: str) -> None:
    chromium.open("/glossary")
    chromium.bring(axe)
    chromium.run(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"data:,\">')"
    )
    assert any("image-alt" in each for each in chromium.driver.execute_async_script(_RUN))
