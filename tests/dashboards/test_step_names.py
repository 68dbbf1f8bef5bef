"""Steps are called by what they are for, not by a digest."""

from __future__ import annotations

import pytest

from threedrs_dashboards.runs.matrix import Matrix, MatrixRow, MatrixStep
from threedrs_dashboards.step_names import step_name


@pytest.mark.parametrize(
    ("role", "label", "name"),
    [
        ("scenes:fc7a8e4a", "teacher", "scenes teacher"),
        ("scenes:fc7a8e4a", "", "scenes:fc7a8e4a"),
        ("teacher", "vggt", "teacher"),
    ],
)
def test_a_label_stands_in_for_a_digest(role: str, label: str, name: str) -> None:
    assert step_name(role, label) == name


def test_a_heading_names_what_all_cells_have_below_it() -> None:
    steps = [MatrixStep("key", label, "succeeded", 1.0, False, "") for label in ("a", "b")]
    rows = tuple(MatrixRow("id", 1, "cell", "succeeded", {"scenes:12": step}) for step in steps)
    assert Matrix(("scenes:12",), rows).heading("scenes:12") == "scenes a, b"
