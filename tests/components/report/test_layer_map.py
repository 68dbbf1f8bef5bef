"""The picture of where 3D knowledge enters and where it can be read."""

from __future__ import annotations

import csv
import io
from typing import Any
from xml.etree import ElementTree

import pytest

from threedrs_components.report.document import Report, make_report
from threedrs_components.report.figures import figures
from threedrs_platform.records import Metric
from threedrs_platform.testing.fake_results import Values, fake_results

PLACES = ("-1", "projector", "10", "2", "tower")


def read(start: float) -> dict[str, float | Metric]:
    """Depth at all places, instance at two; each a tenth above the one before."""
    found: dict[str, float | Metric] = {"probe/depth": Metric("probe/depth", 0.9, 64, "R2")}
    for at, place in enumerate(PLACES):
        name = f"probe/at/{place}/depth"
        found[name] = Metric(name, start + at / 10, 64, "R2", chance=0.25)
    for place in ("tower", "2"):
        name = f"probe/at/{place}/instance"
        found[name] = Metric(name, 0.6, 12, "AUC", chance=0.5)
    return found


def study() -> Report:
    values: Values = {
        "last": {1: read(0.3), 2: read(0.5)},
        "at ten": {1: read(0.2)},
        "base": {1: read(0.1)},
        "both": {1: read(0.0)},
        "untouched": {1: {"acc": 1.0}},
    }
    params: dict[str, Any] = {
        "last": {"teacher": "vggt"},
        "at ten": {"teacher": "vggt", "alignment.layers": [10, "tower"]},
        "base": {"teacher": "none"},
        "both": {
            "teacher": "vggt",
            "alignment": {"weight": 0.0},
            "ray.weight": 1.0,
            "ray.layer": 2,
        },
    }
    return make_report(fake_results(values, params))


def test_rows_and_columns_stand_as_the_student_computes() -> None:
    depth, instance = study().layer_map
    assert depth.places == ("tower", "projector", "2", "10", "-1")
    assert depth.rows == ("nothing", "alignment at 10, tower", "alignment at -1", "ray at 2")
    assert depth.aligned == ((), ("10", "tower"), ("-1",), ("2",))
    assert [round(value or 0, 6) for value in depth.values[2]] == [0.8, 0.5, 0.7, 0.6, 0.4]
    assert depth.seeds == (1, 1, 2, 1) and depth.n == (64,) and depth.chance == 0.25
    assert depth.spreads[0][0] is None and round(depth.spreads[2][0] or 0, 6) == 0.141421
    assert instance.places == ("tower", "2") and instance.unit == "AUC"


def test_the_picture_has_a_cell_for_each_pair_and_frames_where_it_was_trained() -> None:
    svg = figures(study())["layer_map.svg"]
    ElementTree.fromstring(svg)
    assert svg.count("<title>") == 4 * 5 + 4 * 2
    assert svg.count('stroke="#c2571a"') == (0 + 2 + 1 + 1) + (0 + 1 + 0 + 1)
    assert svg.count('fill="#e8e8e8"') == 2 + 1 + 3, "at .25 and below, depth is not above chance"
    assert "alignment at -1, probed at tower: 0.800 ± 0.141" in svg
    assert "chance 0.250, n = 64" in svg and ">last<" in svg


def test_its_numbers_stand_beside_it() -> None:
    lines = list(csv.DictReader(io.StringIO(figures(study())["layer_map.csv"])))
    assert len(lines) == 4 * 5 + 4 * 2
    (line,) = [
        each
        for each in lines
        if (each["probe"], each["trained_with"], each["probed_at"])
        == ("depth", "alignment at -1", "tower")
    ]
    numbers = [float(line[name]) for name in ("mean", "sd")]
    assert numbers == pytest.approx([0.8, 0.141421], abs=1e-6)
    assert (line["seeds"], line["unit"], line["chance"], line["n"]) == ("2", "R2", "0.25", "64")
    assert line["trained_there"] == "0" and sum(int(each["trained_there"]) for each in lines) == 6


def test_a_run_without_places_has_none() -> None:
    report = make_report(fake_results({"base": {1: {"probe/depth": 0.5}}}))
    assert report.layer_map == () and "layer_map.svg" not in figures(report)
