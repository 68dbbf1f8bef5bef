"""The layer map as PDF, for print: the same panels as `layer_map.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_components.report.heat_maps import LAST
from threedrs_components.report.layer_map import Panel
from threedrs_components.report.notation import plain
from threedrs_dashboards.appendix.vector import SETTINGS, UNDATED, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_IN, HEAD_IN = 0.22, 0.9
"""Heights of a row of cells, and of what stands around the cells of a panel."""
MOST_NUMBERS = 12
"""Cells in a row that have room for their numbers."""


def write_layer_map(panels: Sequence[Panel], folder: Path) -> Path:
    """Draw `<folder>/layer_map.pdf`, all panels below each other.

    Returns: the file.
    """
    import matplotlib  # takes a second to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [HEAD_IN + ROW_IN * len(panel.rows) for panel in panels]
    file = folder / "layer_map.pdf"
    with matplotlib.rc_context(SETTINGS):
        figure = Figure((WIDTH_IN, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        drawn = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
        for panel, axes in zip(panels, drawn[:, 0], strict=True):
            _draw(axes, panel)
        figure.savefig(file, metadata=UNDATED[file.suffix])
    return file


def _draw(axes: Axes, panel: Panel) -> None:
    """Grey is what is not above chance; frames are where a row was trained."""
    from matplotlib.patches import Rectangle

    known = [each for row in panel.values for each in row if each is not None]
    above = [each for each in known if panel.chance is None or each > panel.chance]
    low, high = min(above or known), max(above or known)
    grey = low - 1  # any number under the scale
    values = [
        [float("nan") if each is None else each if each in above else grey for each in row]
        for row in panel.values
    ]
    colours = axes.imshow(values, aspect="auto", cmap="Blues", vmin=low, vmax=high + 1e-9)
    colours.cmap = colours.cmap.with_extremes(bad="white", under="#e8e8e8")
    for row, aligned in enumerate(panel.aligned):
        for at, place in enumerate(panel.places):
            value = panel.values[row][at]
            if place in aligned:
                box = Rectangle(
                    (at - 0.46, row - 0.44), 0.92, 0.88, fill=False, edgecolor="#c2571a"
                )
                axes.add_patch(box)
            if value is not None and len(panel.places) <= MOST_NUMBERS:
                dark = value in above and value > low + 0.55 * (high - low)
                told = plain(value, panel.unit)
                axes.text(at, row, told, ha="center", va="center", fontsize=6,
                          color="white" if dark else "black")  # fmt: skip
    names = ["last" if place == LAST else place for place in panel.places]
    axes.set_xticks(range(len(names)), names, fontsize=6)
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=6)
    marks = "framed: trained there" + ("" if panel.chance is None else "; grey: not above chance")
    axes.set_xlabel(marks, fontsize=6)
    chance = "" if panel.chance is None else f", chance {plain(panel.chance, panel.unit)}"
    counts = "/".join(map(str, panel.n))
    axes.set_title(f"{panel.name} ({panel.unit}{chance}, n = {counts})", fontsize=8, loc="left")
