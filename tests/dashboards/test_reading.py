"""The Reading page says what the report of a run says, and nothing else."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

from sqlalchemy import update
from starlette.requests import Request
from starlette.testclient import TestClient

from threedrs_components.report.document import SMOKE
from threedrs_components.report.findings import summary
from threedrs_components.report.sheets import paragraphs
from threedrs_dashboards.app import create_app
from threedrs_dashboards.pages import navigation
from threedrs_dashboards.reported import report_of
from threedrs_dashboards.store import Store
from threedrs_platform.database.schema import runs
from threedrs_platform.records import Metric
from threedrs_platform.testing.fake_results import Values, fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

LOCAL = "http://127.0.0.1:8365"


def test_the_page_says_every_sentence_of_the_report(client: TestClient) -> None:
    store: Store = client.app.state.store  # type: ignore[attr-defined]
    report, _ = report_of(store, store.run("run-1"))
    text = unescape(client.get("/reading?run=run-1").text)
    assert report.opening and report.findings and report.notes
    for line in (*report.opening, *report.notes, summary(report.findings)):
        assert line in text
    for each in report.findings:
        assert each.claim in text and each.verdict in text and each.evidence in text
    for heading, _ in paragraphs(report):
        assert heading in text
    assert "mae &lt;b&gt;" in client.get("/reading?run=run-1").text


def test_its_main_table_has_cells_as_rows_however_many_metrics(client: TestClient) -> None:
    lines = client.get("/reading?run=run-1&csv=main").text.splitlines()
    assert lines[0].startswith("cell,seeds,scanrefer/acc@0.25")
    assert lines[1].startswith("baseline,3/3,")


def test_of_many_cells_the_first_are_shown_with_chance_and_n(tmp_path: Path) -> None:
    name = "scanrefer/acc@0.25"
    number = Metric(name, 20.0, 1632, chance=14.2)
    values: Values = {f"cell {index:02d}": {1: {name: number}} for index in range(30)}
    with find_workspace(str(tmp_path), environment={}) as workspace:
        store_run(workspace.database, fake_results(values))
        pages = TestClient(create_app(workspace), LOCAL)
        text = pages.get("/reading").text
        table = text[text.index('id="main"') : text.index("</table>")]
        assert len(pages.get("/reading?csv=main").text.splitlines()) > 31
    assert "The first 24 of\n    30 cells" in table
    assert "cell 23" in table and "cell 24" not in table
    assert ">chance</th>" in table and "14.2" in table and "1632" in table


def test_it_stands_behind_the_runs_and_keeps_the_run(client: TestClient) -> None:
    scope = {"type": "http", "path": "/reading", "headers": [], "query_string": b"",
             "app": client.app}  # fmt: skip
    second = navigation(Request(scope), "run-1")[1]
    assert (second.title, second.href, second.is_current) == ("Reading", "/reading?run=run-1", True)


def test_the_layer_map_is_drawn_and_saved(tmp_path: Path) -> None:
    numbers = {"probe/at/tower/depth": 0.5, "probe/at/-1/depth": 0.25}
    values: Values = {"one <b>": {1: numbers}, "two": {1: numbers}}
    with find_workspace(str(tmp_path), environment={}) as workspace:
        store_run(workspace.database, fake_results(values))
        pages = TestClient(create_app(workspace), LOCAL)
        text = pages.get("/reading").text
        assert "<svg" in text and "one &lt;b&gt;, probed at tower: 0.5" in text
        assert "one <b>" not in text
        assert len(pages.get("/reading?csv=layer_map").text.splitlines()) == 1 + 2 * 2


def test_a_smoke_run_judges_nothing_here_either(tmp_path: Path) -> None:
    name = "scanrefer/acc@0.25"
    with find_workspace(str(tmp_path), environment={}) as workspace:
        values: Values = {"baseline": {1: {name: 20.0}}, "vggt": {1: {name: 50.0}}}
        store_run(workspace.database, fake_results(values))
        with workspace.database.write() as connection:
            connection.execute(update(runs).values(options_json=json.dumps({"smoke": True})))
        text = TestClient(create_app(workspace), LOCAL).get("/reading").text
    assert SMOKE in unescape(text) and 'id="claims"' not in text
