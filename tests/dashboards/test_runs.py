"""The Runs page says how far a run is, what failed and why, and what it has cost."""

from __future__ import annotations

import csv
import io
import re

from starlette.testclient import TestClient


def words(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_the_list_counts_cells(client: TestClient) -> None:
    text = words(client.get("/runs").text)
    assert "run-1 partial 11 of 15 1 " in text


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


def test_cost_is_summed_over_attempts(client: TestClient) -> None:
    answer = client.get("/runs?run=run-1&csv=cost").text.splitlines()
    assert answer[1].startswith("finetune,13,117.0,")
