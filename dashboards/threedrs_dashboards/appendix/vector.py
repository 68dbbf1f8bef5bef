"""Charts of the pages as PDF and SVG, drawn by matplotlib: no browser, no network.

Draws what the charts of reports consist of: bars, boxes with given quartiles, lines and markers,
and lines from edge to edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_dashboards.charts import COLOURS, Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("pdf", "svg")
WIDTH_IN = 6.3
"""Text width of an A4 page."""
PIXELS_PER_IN = 110
MARKERS = {
    "circle": "o", "circle-open": "o", "square": "s", "diamond": "D", "cross": "P",
    "triangle-up": "^", "x": "X", "star": "*", "pentagon": "p",
}  # fmt: skip
STYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
HATCHES = {"": None, "/": "///", "x": "xxx"}
UNDATED: Any = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "threedrs",
    "font.size": 8,
}
"""Text stays text, and the same data give the same file."""


def write_figure(chart: Chart, folder: Path) -> list[Path]:
    """Draw a chart as `<folder>/<name>.pdf` and `.svg`.

    Returns: the files.
    """
    import matplotlib  # takes a second to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure((WIDTH_IN, max(2.0, chart.height / PIXELS_PER_IN)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, chart)
        files = [folder / f"{chart.name}.{style}" for style in FORMATS]
        for file in files:
            figure.savefig(file, metadata=UNDATED[file.suffix])
    return files


def _draw(axes: Axes, chart: Chart) -> None:
    axes.set_title(chart.title, fontsize=9, loc="left")
    bars = [trace for trace in chart.traces if trace["type"] == "bar"]
    places = _places(chart.traces)
    colours = count()
    for trace in chart.traces:
        if trace["type"] == "bar":
            _bars(axes, trace, places, (bars.index(trace), len(bars)), _colour(trace, colours))
        elif trace["type"] == "box":
            _boxes(axes, trace, places)
        else:
            _line(axes, trace, places, _colour(trace, colours))
    for shape in chart.layout.get("shapes", ()):
        if shape["x0"] == shape["x1"] and shape.get("yref") == "paper":
            line = shape["line"]
            style, width = STYLES[line.get("dash", "solid")], line.get("width", 1.5) * 0.4
            axes.axvline(shape["x0"], color=line["color"], linestyle=style, linewidth=width)
    _label(axes, chart, places)


def _places(traces: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Category -> position, for axes of words, in order of appearance."""
    names: dict[str, int] = {}
    for trace in traces:
        for side in ("x", "y"):
            for value in trace.get(side, ()):
                if isinstance(value, str):
                    names.setdefault(value, len(names))
    return names


def _at(values: Sequence[Any], places: Mapping[str, int]) -> list[float]:
    """Numbers as they are, words by their position, gaps as NaN."""
    return [
        float("nan") if value is None else float(places[value] if isinstance(value, str) else value)
        for value in values
    ]


def _colour(trace: Mapping[str, Any], colours: count[int]) -> str:
    """The trace's own colour, else the next one."""
    own = trace.get("line", {}).get("color") or trace.get("marker", {}).get("color")
    return str(own) if isinstance(own, str) else COLOURS[next(colours) % len(COLOURS)]


def _bars(
    axes: Axes,
    trace: Mapping[str, Any],
    places: Mapping[str, int],
    turn: tuple[int, int],
    colour: str,
) -> None:
    index, number = turn
    width = 0.8 / number
    shift = (index - (number - 1) / 2) * width
    is_lying = trace.get("orientation") == "h"
    names, values = (trace["y"], trace["x"]) if is_lying else (trace["x"], trace["y"])
    at = [place + shift for place in _at(names, places)]
    spread = trace.get("error_x" if is_lying else "error_y", {}).get("array")
    errors = None if spread is None else [each or 0.0 for each in spread]
    options: dict[str, Any] = {
        "color": colour,
        "label": trace.get("name") if trace.get("showlegend", True) else None,
        "hatch": HATCHES[trace.get("marker", {}).get("pattern", {}).get("shape", "")],
        "ecolor": "#1c2430",
        "capsize": 2,
    }
    if is_lying:
        axes.barh(at, _at(values, places), width, xerr=errors, **options)
    else:
        axes.bar(at, _at(values, places), width, yerr=errors, **options)


def _boxes(axes: Axes, trace: Mapping[str, Any], places: Mapping[str, int]) -> None:
    """Boxes whose quartiles are given, lying."""
    columns = {"whislo": "lowerfence", "q1": "q1", "med": "median", "q3": "q3",
               "whishi": "upperfence", "mean": "mean"}  # fmt: skip
    boxes = [
        {"fliers": [], **{key: trace[name][index] for key, name in columns.items()}}
        for index in range(len(trace["y"]))
    ]
    axes.bxp(
        boxes,
        positions=_at(trace["y"], places),
        orientation="horizontal",
        showmeans=True,
        meanline=True,
        manage_ticks=False,
    )


def _line(axes: Axes, trace: Mapping[str, Any], places: Mapping[str, int], colour: str) -> None:
    mode, line, marker = trace["mode"], trace.get("line", {}), trace.get("marker", {})
    symbol = marker.get("symbol", "circle")
    axes.plot(
        _at(trace["x"], places),
        _at(trace["y"], places),
        linestyle=STYLES[line.get("dash", "solid")] if "lines" in mode else "none",
        drawstyle="steps-post" if line.get("shape") == "hv" else "default",
        linewidth=line.get("width", 1.5) * 0.7,
        marker=MARKERS[symbol] if "markers" in mode else None,
        markersize=marker.get("size", 8) * 0.6,
        markerfacecolor="none" if symbol.endswith("-open") else colour,
        color=colour,
        label=trace.get("name"),
        zorder=3,
    )


def _label(axes: Axes, chart: Chart, places: Mapping[str, int]) -> None:
    for side, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        layout = chart.layout.get(f"{side}axis", {})
        axis.set_label_text(layout.get("title", {}).get("text", ""))
        words = any(isinstance(value, str) for t in chart.traces for value in t.get(side, ()))
        if words:
            axis.set_ticks(list(places.values()), list(places))
        if layout.get("autorange") == "reversed":
            axis.set_inverted(True)
    axes.grid(True, linewidth=0.3, color="#d9dee6")
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1 and axes.figure is not None:
        axes.figure.legend(
            handles, labels, fontsize=7, frameon=False, loc="outside lower center", ncols=3
        )
