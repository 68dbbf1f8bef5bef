"""The Cell page: numbers beside the baseline's, question types, curves, samples, lineage."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

ACC = "scanrefer/acc@0.25"
URL = "/cell?run=run-1&cell=id-vggt&seed=2"


def table(client: TestClient, words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(f"{URL}&{words}").text)))


def figure(text: str, name: str) -> dict[str, list[dict[str, object]]]:
    found = re.search(rf'id="plot-{name}">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content: dict[str, list[dict[str, object]]] = json.loads(found.group(1))
    return content


def test_settings_that_differ_from_the_baseline_come_first(client: TestClient) -> None:
    text = client.get(URL).text
    differing = text[text.index("Settings that differ") : text.index("Settings in common")]
    assert "<code>teacher</code>" in differing and "alignment.weight" not in differing


def test_metrics_stand_beside_the_baselines(client: TestClient) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(URL).text))
    assert "ScanRefer: accuracy at IoU 0.25 (%) 51.0 30 17.4 50.0 ± 1.0 23.0 ± 1.0" in text


def test_question_types_of_a_metric_are_drawn_with_their_spread(client: TestClient) -> None:
    drawn = figure(client.get(URL).text, "questions")["data"]
    assert [trace["name"] for trace in drawn] == ["vggt", "baseline", "chance"]
    assert drawn[0]["x"] == ["all", "g_lm", "g_attr"] and drawn[0]["y"] == [50.0, 45.0, 55.0]
    rows = table(client, "csv=questions")
    assert rows[1] == {
        "cell": "vggt", "question_type": "g_lm", "mean": "45.0", "sd": "1.0", "n": "10",
    }  # fmt: skip


def test_long_curves_are_thinned_on_the_page_and_whole_in_the_csv(client: TestClient) -> None:
    text = client.get(URL + "&curve=finetune/loss").text
    lines = figure(text, "curve0")["data"]
    assert [line["name"] for line in lines] == ["seed 1", "seed 2", "seed 3"]
    for line in lines:
        steps = line["x"]
        assert isinstance(steps, list)
        assert 300 < len(steps) <= 402 and (steps[0], steps[-1]) == (0, 1999)
    assert len(table(client, "curve=finetune/loss&csv=curve0")) == 6000


def test_samples_come_worst_and_best_first_beside_the_baselines(client: TestClient) -> None:
    rows = table(client, f"csv=samples&metric={ACC}")
    assert len(rows) == 30 and {row["score"] for row in rows} == {"100.0"}
    assert rows[0]["gain"] == "0.0" and rows[-1]["gain"] == "100.0"
    text = client.get("/cell?run=run-1&cell=id-baseline").text
    worst, best = text[text.index("Worst samples") :].split("Best samples")
    assert ">q1<" in worst and ">q0<" not in worst and ">q0<" in best


def test_a_sample_leads_to_its_scene(client: TestClient) -> None:
    link = "/scenes?run=run-1&amp;cell=id-vggt&amp;seed=2&amp;scene=room1&amp;sample=q1"
    assert link in client.get(URL).text


def test_the_lineage_names_code_and_attempts(client: TestClient) -> None:
    (step,) = table(client, "csv=lineage")
    assert (step["role"], step["state"], step["code"]) == (
        "finetune",
        "succeeded",
        "code-of-finetune",
    )
    assert step["attempts"] == "1"


def test_a_cell_without_numbers_says_why(client: TestClient) -> None:
    text = client.get("/cell?run=run-1&cell=late&seed=1").text
    assert "running: finetune" in text and "missing" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("cell=vgt", "did you mean &#39;vggt&#39;"),
        ("cell=vggt&seed=9", "no seed 9, only 1, 2, 3"),
        ("cell=vggt&curve=lost", "no curve"),
        ("cell=vggt&metric=../../etc/passwd", "here"),
    ],
)
def test_wrong_words_are_told(client: TestClient, words: str, says: str) -> None:
    answer = client.get(f"/cell?run=run-1&{words}")
    assert answer.status_code == 404 and says in answer.text


def test_a_running_steps_curve_is_drawn_up_to_now(client: TestClient, workspace: Path) -> None:
    live = workspace / "logs" / "key-late-1" / "1.jsonl"
    with live.open("a", encoding="utf-8") as file:
        for step, loss in ((10, 0.9), (20, 0.7)):
            file.write(json.dumps({"kind": "curve", "step": step, "values": {"loss": loss}}) + "\n")
        file.write('{"kind": "curve", "step": 30, "val')
    url = "/cell?run=run-1&cell=late&seed=1"
    (line,) = figure(client.get(url).text, "curve0")["data"]
    assert (line["name"], line["x"], line["y"]) == ("seed 1, so far", [10, 20], [0.9, 0.7])
    assert client.get(f"{url}&csv=curve0").text.splitlines()[-1] == "1,20,0.7"
