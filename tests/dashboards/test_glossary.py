"""Metric names are explained from one list, on their page and where they stand."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from threedrs_components.report.metric_words import explain


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("scanrefer/acc@0.25/g_lm", "landmark"),
        ("multi3drefer/f1@0.5/m_zt_wo_d", "zero targets, without distractors"),
        ("probe_teacher:probe/margin", "mean cosine of different places"),
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
    assert '<abbr title="scanrefer: choose the one object' in text
