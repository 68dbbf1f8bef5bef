"""Chromium on the pages of the tiny run. Debian: `apt-get install chromium chromium-driver`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from threedrs_dashboards.app import create_app
from threedrs_dashboards.testing.tiny_study import write_tiny_study
from threedrs_platform.workspace import find_workspace

LOOPBACK = "127.0.0.1"
PATIENCE_S = 120.0
SCREENSHOTS = "THREEDRS_SCREENSHOTS"
"""Folder for pictures of every page; none are taken where it is not set."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--window-size=1400,1000",
    "--disable-background-networking",
    "--disable-component-update",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
)
HARMLESS = ("willReadFrequently", "GPU stall due to ReadPixels")
"""Hints about speed of the software renderer, which no user has."""


@pytest.fixture(scope="session")
def server(tiny_root: Path) -> Iterator[str]:
    """Address of a server on a free port, which shows a study of tuning, too."""
    write_tiny_study(tiny_root, "", ("scanqa/em@1",))
    with serving(tiny_root) as address:
        yield address


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve the pages of a workspace; gives their address."""
    app = create_app(find_workspace(str(root), environment={}))
    config = uvicorn.Config(app, host=LOOPBACK, port=0, log_level="warning", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_until(lambda: running.started, "the server to start")
    (port,) = {each.getsockname()[1] for at in running.servers for each in at.sockets}
    yield f"http://{LOOPBACK}:{port}"
    running.should_exit = True
    thread.join(PATIENCE_S)
    app.state.store.close()


@dataclass
class Browser:
    """Chromium with what these tests ask of it."""

    driver: Any
    server: str
    downloads: Path
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Load a page of the server and wait for its plots."""
        self.driver.get(path if path.startswith("http") else self.server + path)
        self.settle()

    def settle(self) -> None:
        """Wait for plots and pictures, and for a part that is being fetched."""
        wait_until(lambda: self.run(_SETTLED), f"{self.url} to settle")

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript; `return` gives its value."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The one element that a CSS selector finds first."""
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Texts of all elements."""
        return [each.text for each in self.driver.find_elements("css selector", selector)]

    def follow(self, selector: str) -> None:
        """Click on what leads to another page, and wait for that."""
        before = self.find("html")
        self.find(selector).click()
        wait_until(lambda: not _alive(before), f"the page behind {selector}")
        self.settle()

    def wait_for(self, script: str) -> None:
        """Wait until JavaScript returns something true."""
        wait_until(lambda: self.run(script), script)

    def emulate_scheme(self, scheme: str) -> None:
        """Prefer the "light" or "dark" colours from now on."""
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def resize(self, width: int) -> None:
        """Show pages at so many pixels; a window has a least width, which its content has not."""
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def bring(self, script: str) -> None:
        """Run a script of ours in a page whose policy lets no other one in."""
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": script})

    def press(self, *keys: str) -> None:
        """Type into what has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def drag(self, element: Any, start: tuple[int, int], by: tuple[int, int]) -> None:
        """Draw a box with the mouse, from a place that is told from the element's middle."""
        from selenium.webdriver import ActionChains

        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        mouse = ActionChains(self.driver).move_to_element_with_offset(element, *start)
        mouse.click_and_hold().move_by_offset(*by).release().perform()

    def choose(self, name: str, value: str) -> None:
        """Choose in a form that asks again by itself."""
        before = self.find("html")
        self.run(_CHOOSE, name, value)
        wait_until(lambda: not _alive(before), "the next page")
        self.settle()

    def picture(self, name: str) -> None:
        """Save the whole page where pictures are wanted."""
        folder = os.environ.get(SCREENSHOTS)
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        whole = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", whole)
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))

    def downloaded(self, name: str) -> str:
        """Content of a file that a click saved."""
        path = self.downloads / name
        wait_until(path.is_file, f"{name} to be saved")
        return path.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where the browser is."""
        return str(self.driver.current_url)

    def collect(self) -> None:
        """Read what was logged since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        self.console += [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if not any(hint in entry["message"] for hint in HARMLESS)
        ]

    def strangers(self) -> list[str]:
        """Requests to anywhere but this machine."""
        inside = ("data", "blob", "chrome", "about")
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in inside and urlsplit(url).hostname != LOOPBACK
        ]


_SETTLED = """
return document.readyState === "complete"
  && !document.querySelector("[data-plot]:not([data-drawn])")
  && !document.querySelector("[aria-busy]")
  && [...document.images].every((each) => each.complete);
"""
_CHOOSE = """
const field = document.querySelector(`form.choices [name="${arguments[0]}"]`);
field.value = arguments[1];
field.dispatchEvent(new Event("change", { bubbles: true }));
"""


def _alive(element: Any) -> bool:
    """Whether an element still belongs to the page that is shown."""
    from selenium.common.exceptions import StaleElementReferenceException

    try:
        return bool(element.is_enabled())
    except StaleElementReferenceException:
        return False


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Ask again and again, for a while."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def chromium(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    control = shutil.which("chromedriver")
    if program is None or control is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    service = webdriver.ChromeService(executable_path=control)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(PATIENCE_S)
    driver.set_script_timeout(PATIENCE_S)
    yield Browser(driver, server, downloads)
    driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser, watched: a console error or a request to elsewhere fails the test."""
    chromium.collect()
    chromium.requests.clear()
    chromium.console.clear()
    yield chromium
    chromium.collect()
    assert chromium.console == []
    assert chromium.strangers() == []
    assert chromium.requests
