"""Wide tables on narrow terminals: several tables, none of whose words is broken."""

from __future__ import annotations

import pytest

from threedrs_components.report.folding import fitting
from threedrs_components.report.render import sheets_text
from threedrs_components.report.sheets import Sheet

HEADER = ("cell", "baseline", "teacher=vggt", "teacher=vggt,alignment.layers=[2]", "n")
ROWS = (
    ("scanrefer/acc@0.25 (%)", "47.9 ± 0.1", "+29.3 [+13.0, +45.7] °", "61.9 ± 2.0", "1632"),
    ("probe/score (cosine)", "0.616 ± 0.003", "+0.174 [+0.136, +0.212] °", "0.518 ± 0.011", "120"),
)
SHEET = Sheet("a table", HEADER, ROWS, "a legend", best=frozenset({(0, 2)}))


def test_a_table_that_fits_is_left_alone() -> None:
    assert fitting(SHEET, 200) == [SHEET]


@pytest.mark.parametrize("width", [60, 72, 80, 100])
def test_every_number_is_printed_in_one_piece(width: int) -> None:
    text = sheets_text([SHEET], width)
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        assert all(cell in text for cell in row)
    assert text.count("a table") == text.count("a legend") == 1


def test_each_part_repeats_the_first_column_and_keeps_what_is_best() -> None:
    parts = fitting(SHEET, 60)
    assert len(parts) > 1
    assert all(part.header[0] == "cell" for part in parts)
    assert [name for part in parts for name in part.header[1:]] == [
        "baseline",
        "teacher=vggt",
        "teacher=vggt,\nalignment.layers=[2]",
        "n",
    ]
    (best,) = [(part, at) for part in parts for at in part.best]
    assert best[0].rows[best[1][0]][best[1][1]] == "+29.3 [+13.0, +45.7] °"


def test_a_terminal_narrower_than_any_column_still_gets_every_column() -> None:
    assert sum(len(part.header) - 1 for part in fitting(SHEET, 5)) == 4
