"""Metric names are explained from one list, on their page and where they stand."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from threedrs_components.report.metric_words import WORDS, explain, readable


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("scanrefer/acc@0.25/g_lm", "landmark"),
        ("multi3drefer/f1@0.5/m_zt_wo_d", "zero targets, without distractors"),
        ("probe_teacher:probe/margin", "mean cosine of different places"),
        ("validation/loss/grounding", "loss/grounding: of the choice of a box"),
        ("alignment/layer-1", "one hidden layer alone"),
    ],
)
def test_every_part_that_is_known_is_told(name: str, says: str) -> None:
    assert says in explain(name)


def test_what_nobody_knows_is_not_explained() -> None:
    assert explain("mine/own") == ""


def test_the_page_lists_and_finds_them(client: TestClient) -> None:
    assert "zt_w_d" in client.get("/glossary").text
    found = client.get("/glossary?find=landmark").text
    assert "g_lm" in found and "zt_w_d" not in found


def test_a_name_in_a_table_tells_its_meaning(client: TestClient) -> None:
    text = client.get("/cell?run=run-1&cell=vggt").text
    assert '<abbr title="scanrefer/acc@0.25: scanrefer: choose the one object' in text


@pytest.mark.parametrize(
    ("path", "chart"),
    [
        ("/cell?run=run-1&cell=vggt", "questions"),
        ("/table?run=run-1", "means"),
        ("/cell?run=run-1&cell=vggt", "curve0"),
    ],
)
def test_a_chart_explains_the_names_in_it(client: TestClient, path: str, chart: str) -> None:
    figure = client.get(path).text.split(f'id="chart-{chart}"')[1].split("</figure>")[0]
    assert "What these names mean" in figure and 'href="/glossary"' in figure
    assert "<dt><code>" in figure


def test_a_bar_says_what_its_question_type_means(client: TestClient) -> None:
    text = client.get("/cell?run=run-1&cell=vggt").text
    chart = json.loads(text.split('id="plot-questions">')[1].split("</script>")[0])
    words = dict(zip(chart["data"][0]["x"], chart["data"][0]["hovertext"], strict=True))
    assert words["g_lm"] == explain("g_lm") != ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scanrefer/acc@0.25/position", "ScanRefer: accuracy at IoU 0.25, position"),
        ("scanrefer/acc@0.25/m_g_lm", "ScanRefer: accuracy at IoU 0.25, by a landmark"),
        ("scanqa/em@1", "ScanQA: exact match"),
        ("scanqa/em@10", "ScanQA: exact match among 10"),
        ("probe/score", "correspondence score"),
        ("probe_teacher:probe/score", "teacher's correspondence score"),
        ("mine/own_number", "mine: own number"),
        ("vsibench", "VSI-Bench"),
    ],
)
def test_names_become_headings(name: str, words: str) -> None:
    assert readable(name) == words


def test_no_two_parts_of_names_become_the_same_heading() -> None:
    parts = {part for group in WORDS.values() for part in group}
    told = [readable(f"scanqa/{part}") for part in parts if not part.endswith("@1")]
    assert len(set(told)) == len(told)
