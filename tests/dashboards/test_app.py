"""The frame of all pages: what is answered, to whom, with which headers."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from sqlalchemy.exc import InternalError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from threedrs_dashboards.app import create_app
from threedrs_dashboards.pages import Page, all_pages, patient
from threedrs_dashboards.testing.tiny_run import BASELINE, RUN, TAUGHT
from threedrs_platform.database.connection import open_database
from threedrs_platform.database.turns import TurnLost
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import StorageError
from threedrs_platform.workspace import find_workspace

LOCAL = "http://127.0.0.1:8365"


def test_every_answer_allows_content_of_this_server_only(client: TestClient) -> None:
    for path in ("/runs", "/static/style.css", "/nowhere"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert "http" not in policy


def test_another_host_name_is_turned_away(client: TestClient) -> None:
    assert client.get("/runs", headers={"Host": "evil.example:8000"}).status_code == 400
    assert client.get("/runs", headers={"Host": "localhost:8000"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    for path in ("/runs", "/static/style.css"):
        assert client.request(method, path).status_code == 405


def test_plotly_comes_from_the_installed_package(client: TestClient) -> None:
    answer = client.get("/static/plotly.min.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert "plotly.js v" in answer.text[:200]


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"]
)
def test_static_files_stay_in_their_folder(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_no_page_needs_anything_from_elsewhere(client: TestClient) -> None:
    for page in all_pages():
        text = client.get(page.path).text
        assert 'src="http' not in text and 'href="http' not in text and "@import" not in text


@pytest.mark.parametrize("path", ["/runs", "/table", "/cell", "/compare", "/scenes", "/ask"])
def test_before_the_first_run_pages_welcome_and_say_what_to_type(tmp_path: Path, path: str) -> None:
    app = create_app(find_workspace(str(tmp_path / "empty"), environment={}))
    answer = TestClient(app, LOCAL).get(path)
    assert answer.status_code == 200 and "Welcome to threedrs" in answer.text
    assert "workflows submit ablations.yaml --smoke" in answer.text
    assert "docs/tutorials/first-table.md" in answer.text and 'href="/glossary"' in answer.text
    assert (Path(__file__).parents[2] / "docs/tutorials/first-table.md").is_file()
    assert not (tmp_path / "empty").exists()


def test_a_database_without_runs_is_welcomed_too(tmp_path: Path) -> None:
    open_database(sqlite_url(tmp_path / "results.db")).close()
    app = create_app(find_workspace(str(tmp_path), environment={}))
    client = TestClient(app, LOCAL)
    for path in ("/runs", "/correspondence"):
        assert "Welcome to threedrs" in client.get(path).text
    app.state.store.close()


def test_the_database_refuses_to_be_written(client: TestClient) -> None:
    database = client.app.state.store.database  # type: ignore[attr-defined]
    refusal = pytest.raises((StorageError, InternalError), match=r"read-?only")
    with refusal, database.write() as connection:
        connection.exec_driver_sql("DELETE FROM runs")


def test_data_that_a_page_does_not_have_is_a_fault_with_a_hint(client: TestClient) -> None:
    answer = client.get("/runs?csv=run")
    assert answer.status_code == 404 and "did you mean &#39;runs&#39;" in answer.text


@pytest.mark.parametrize("path", ["/cell", "/correspondence", "/scenes", "/ask"])
def test_every_page_begins_with_the_same_cells_and_links_keep_them(
    scenes: TestClient, path: str
) -> None:
    text = scenes.get(f"{path}?run={RUN}").text
    assert f'href="/compare?run={RUN}&amp;cell={BASELINE}&amp;cell={TAUGHT}"' in text
    chosen = scenes.get(f"{path}?run={RUN}&cell={BASELINE}&against={TAUGHT}&seed=2").text
    for other in ("/cell", "/correspondence", "/scenes", "/ask"):
        kept = f"{other}?run={RUN}&amp;cell={BASELINE}&amp;against={TAUGHT}&amp;seed=2"
        assert f'href="{kept}"' in chosen


@pytest.mark.parametrize(("losses", "status"), [(1, 200), (2, 503)])
def test_a_page_is_read_once_more_where_the_database_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: int, status: int
) -> None:
    monkeypatch.setattr("threedrs_dashboards.pages.AGAIN_AFTER_S", 0.0)
    lost = [TurnLost("the server restarts")] * losses

    def page(request: Request) -> Response:
        if lost:
            raise lost.pop()
        return PlainTextResponse("here")

    app = create_app(find_workspace(str(tmp_path), environment={}))
    app.router.routes.append(Route("/lost", patient(page)))
    assert TestClient(app, LOCAL).get("/lost").status_code == status


@pytest.mark.parametrize(("query", "what"), [("", "Page Glossary"), ("?csv=all", "The data")])
def test_an_error_that_nobody_foresaw_is_a_page_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, query: str, what: str
) -> None:
    def broken(request: Request) -> Response:
        raise ZeroDivisionError("of <b>\nsecond line")

    app = create_app(find_workspace(str(tmp_path), environment={}))
    app.router.routes[:0] = Page("Glossary", "/glossary", broken).routes
    answer = TestClient(app, LOCAL).get(f"/glossary{query}")
    text = unescape(answer.text)
    assert answer.status_code == 500 and 'href="/runs"' in text
    assert what in text and "(/glossary) could not be made: ZeroDivisionError: of <b>." in text
    assert "logs/ui.log" in text and "second line" not in text and "Traceback" not in text
    assert "of &lt;b&gt;" in answer.text and "Content-Security-Policy" in answer.headers
    assert "Traceback" in caplog.text and "test_app.py" in caplog.text


def test_a_form_that_fails_is_told_in_words_too(tmp_path: Path) -> None:
    async def broken(request: Request) -> Response:
        raise KeyError("gone")

    def shown(request: Request) -> Response:
        raise AssertionError

    app = create_app(find_workspace(str(tmp_path), environment={}))
    page = Page("Ask", "/broken", shown, posts={"/ask/question": broken})
    app.router.routes[:0] = page.routes
    answer = TestClient(app, LOCAL).post("/ask/question")
    assert answer.status_code == 500
    assert "Page Ask (/ask/question) could not be made: KeyError" in answer.text
