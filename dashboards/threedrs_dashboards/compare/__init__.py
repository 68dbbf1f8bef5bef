"""The Compare page: any cells of any runs side by side, the first of them as the reference.

page.py       answers the page
arms.py       which cells a URL names, and which there are to add
beside.py     their metrics with differences, and the settings in which they differ
overlay.py    their curves in one plot
at_step.py    their curves' values at one step of the training
questions.py  one question, and what all of them answered
frames.py     the boxes of a question, drawn into frames
"""

from __future__ import annotations

from collections.abc import Sequence

from threedrs_dashboards.pages import Focus, Page, later

PATH = "/compare"


def both_cells(focus: Focus) -> Sequence[tuple[str, object]]:
    """The reference first; one cell is not compared with itself."""
    return [("cell", each) for each in dict.fromkeys((focus.against, focus.cell))]


PAGE = Page(
    "Compare",
    PATH,
    later("threedrs_dashboards.compare.page", "show"),
    words=both_cells,
    more={
        "/compare/frame.png": later("threedrs_dashboards.compare.frames", "frame"),
        "/compare/step": later("threedrs_dashboards.compare.page", "show_step"),
    },
)
