"""The Runs page says how far a run is, what failed and why, and what it has cost."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from threedrs_dashboards.runs.costs import Cost
from threedrs_dashboards.runs.lost_work import lost_attempts
from threedrs_dashboards.runs.marks import headlines
from threedrs_dashboards.runs.page import _cost_chart
from threedrs_platform.database import schema
from threedrs_platform.database.connection import open_database
from threedrs_platform.testing.fake_results import Values, fake_results
from threedrs_platform.testing.fake_runs import store_run


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_list_counts_cells(client: TestClient) -> None:
    text = words(client.get("/runs").text)
    assert "run-1 partial 11 of 15 1 failed" in text


def test_one_run_shows_every_cell_and_every_state(client: TestClient) -> None:
    text = client.get("/runs?run=run-1").text
    shown = words(text)
    assert "baseline 1 ✓ succeeded" in shown and "late 1 ▶ running" in shown
    assert "late 2 … pending" in shown and "✗ failed" in shown
    assert 'href="/cell?run=run-1&amp;cell=id-vggt&amp;seed=2"' in text


def test_causes_are_shown_and_never_as_markup(client: TestClient) -> None:
    text = client.get("/runs?run=run-1").text
    assert "CUDA out of memory" in text and "Traceback &lt;script&gt;" in text
    assert "mae &lt;b&gt;" in text and "mae <b>" not in text


def test_running_steps_tell_their_progress(client: TestClient) -> None:
    text = client.get("/runs?run=run-1").text
    assert '<progress max="350" value="120"' in text and "loss 0.41" in text


def test_cells_can_be_filtered_by_state_and_name(client: TestClient) -> None:
    failed = words(client.get("/runs?run=run-1&state=failed").text)
    assert "mae &lt;b&gt; 2 ✗" in failed and "baseline 1" not in failed
    found = words(client.get("/runs?run=run-1&find=heavy").text)
    assert "vggt heavy 3 ✓" in found and "baseline 1" not in found


def test_a_wrong_state_is_a_fault_with_a_hint(client: TestClient) -> None:
    answer = client.get("/runs?run=run-1&state=fialed")
    assert answer.status_code == 404 and "did you mean &#39;failed&#39;" in answer.text


def test_the_matrix_as_csv_has_all_cells(client: TestClient) -> None:
    rows = list(csv.reader(io.StringIO(client.get("/runs?run=run-1&csv=matrix").text)))
    assert rows[0] == ["cell_id", "cell", "seed", "state", "finetune"]
    assert ["id-late", "late", "1", "running", "running"] in rows and len(rows) == 16


def test_attempts_that_came_to_nothing_are_shown_also_where_the_step_succeeded(
    tmp_path: Path,
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'results.db'}")
    results = fake_results({"baseline": {1: {"acc": 50.0}}})
    store_run(database, results, logs=tmp_path / "logs")
    (step,) = results.cells[0].steps
    assert lost_attempts(database, "run-1") == []
    with database.write() as connection:
        committed = connection.execute(select(schema.attempts)).mappings().one()
        connection.execute(
            schema.attempts.insert(),
            {**committed, "n": 2, "state": "failed", "failure": "oom", "message": "out of memory"},
        )
        connection.execute(
            schema.attempts.insert(),
            {
                **committed,
                "n": 3,
                "state": "lost",
                "seconds": None,
                "started_at": committed["ended_at"] - 4,
            },
        )
    lost, failed = lost_attempts(database, "run-1")
    assert (lost.n, lost.state, failed.n, failed.failure) == (3, "lost", 2, "oom")
    assert lost.seconds == pytest.approx(4.0) and failed.seconds == 9.0
    assert failed.key == step.key and failed.is_mended and len(failed.cells) == 1
    database.close()


def test_an_attempt_that_failed_is_on_the_page_and_in_its_csv(client: TestClient) -> None:
    text = words(client.get("/runs?run=run-1").text)
    assert "Attempts that came to nothing" in text and "0 of 1 are of steps that succeeded" in text
    rows = list(csv.DictReader(io.StringIO(client.get("/runs?run=run-1&csv=attempts").text)))
    assert {each["failure"] for each in rows} == {"oom"}
    assert {each["succeeded_since"] for each in rows} == {"False"}


def test_cost_is_summed_over_attempts(client: TestClient) -> None:
    answer = client.get("/runs?run=run-1&csv=cost").text.splitlines()
    assert answer[1].startswith("finetune,13,117.0,")


def test_the_bars_of_time_are_of_one_measure_and_say_its_unit(client: TestClient) -> None:
    text = client.get("/runs?run=run-1").text
    (found,) = re.findall(r'id="plot-cost">(.*?)</script>', text, re.S)
    chart = json.loads(found)
    assert chart["layout"]["yaxis"]["title"]["text"] == "wall clock (seconds)"
    assert sum(value for trace in chart["data"] for value in trace["y"]) == 117.0
    assert "in 13 attempts" in text and "hours" not in words(text)


@pytest.mark.parametrize(
    ("seconds", "unit"), [(179.0, "seconds"), (181.0, "minutes"), (11000.0, "hours")]
)
def test_the_unit_of_the_bars_fits_the_longest(seconds: float, unit: str) -> None:
    assert _cost_chart({"finetune": Cost(1, seconds)}).layout["yaxis"]["title"]["text"] == (
        f"wall clock ({unit})"
    )


def test_runs_are_told_apart_by_what_was_asked_and_how_it_came_out(
    client: TestClient, database_url: str
) -> None:
    options = {"sets": ["training.steps=9"], "note": "longer training", "commit": "c0ffee" * 7}
    asked = update(schema.runs).values(options_json=json.dumps(options))
    with open_database(database_url).write() as connection:
        connection.execute(asked)
    text = words(client.get("/runs").text)
    assert "longer training --set training.steps=9" in text and "c0ffeec0ff" in text
    assert "50.0% vggt scanrefer/ acc@0.25" in text
    assert "run-1" in words(client.get("/runs?find=LONGER+steps").text)
    assert "run-1" not in words(client.get("/runs?find=shorter").text)


class _MLflow(BaseHTTPRequestHandler):
    """Knows one experiment with one run, and what it was asked."""

    asked: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        self._say({"experiment": {"experiment_id": "7"}})

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.asked.append(json.loads(self.rfile.read(length)))
        self._say({"runs": [{"info": {"run_id": "abc"}}]})

    def _say(self, content: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *words: Any) -> None:
        """Nobody wants to read it."""


def test_a_cell_leads_to_its_page_in_mlflow(client: TestClient) -> None:
    url = "/runs/mlflow?run=run-1&cell=id-vggt&seed=2"
    assert client.get(url).status_code == 404 and "mlflow?" not in client.get("/runs").text
    with HTTPServer(("127.0.0.1", 0), _MLflow) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client.app.state.mlflow = address  # type: ignore[attr-defined]
        answer = client.get(url, follow_redirects=False)
        assert "/runs/mlflow?run=run-1" in client.get("/runs").text
        server.shutdown()
    assert answer.headers["Location"] == (
        f"{address}/#/experiments/7/runs/abc?workflowType=machine_learning"
    )
    (asked,) = _MLflow.asked
    assert asked["filter"].endswith(
        "tags.`threedrs.cell` = 'id-vggt' and tags.`threedrs.seed` = '2'"
    )
    assert client.get("/runs/mlflow?run=run-1&cell=a'b").status_code == 404


def test_a_run_that_nobody_works_on_is_interrupted_in_the_list_too(
    client: TestClient, database_url: str
) -> None:
    database = open_database(database_url)
    with database.write() as connection:
        connection.execute(update(schema.runs).values(state="running", owner=None))
    database.close()
    assert "run-1 interrupted" in words(client.get("/runs").text)


def test_the_first_number_of_a_run_is_of_scanrefer_where_its_grid_asks_for_none(
    database_url: str,
) -> None:
    database = open_database(database_url)
    names = ("multi3drefer/f1@0.25", "probe/score", "scanrefer/acc@0.25")
    values: Values = {"a": {1: dict.fromkeys(names, 5.0)}, "b": {1: dict.fromkeys(names, 7.0)}}
    store_run(database, fake_results(values))
    found = headlines(database, ["run-1"])["run-1"]
    database.close()
    assert (found.metric, found.value, found.cell) == ("scanrefer/acc@0.25", 7.0, "b")
