"""Plots as values: Plotly's traces and layout with the table they show and a text for all readers.

No plotting library runs here: a chart is JSON inside the page, which `static/charts.js` hands to
the `plotly.min.js` of the installed `plotly` package.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from threedrs_components.report.metric_words import explained
from threedrs_dashboards.tables import LazyTable, Table
from threedrs_platform.errors import ConfigError, Fault

COLOURS = ("#2f6db3", "#c2571a", "#2e7d4f", "#8a4fa3", "#a67c00", "#465069", "#12858a", "#a3123f")
"""Of series, in order; each has a contrast of at least 3 : 1 on white."""
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "pentagon")
"""Of series, in order: what is told by colour is told by shape, too."""
INK = "#1c2430"
"""Of words and of what stands for no series; pages turn it light where they are dark."""
INSTALL = "pip install -e '.[dashboards]'"


@dataclass(frozen=True)
class Chart:
    """One plot.

    Its traces need no `eval`, which the pages' policy forbids: "scattergl" and "parcoords" compile
    their shaders with it, and would show nothing.
    """

    name: str
    """Unique on its page; `?csv=NAME` gives its data."""
    title: str
    traces: Sequence[Mapping[str, Any]]
    table: Table | LazyTable
    """The data that is shown."""
    summary: str = ""
    """What can be seen, in words; stands below the plot."""
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = 380
    """Pixels."""
    names: Sequence[str] = ()
    """Metrics and curves that are drawn: what their parts mean stands below the plot."""

    @property
    def meanings(self) -> Mapping[str, str]:
        """Part of a name -> what it means, for every part that the glossary knows."""
        return {part: words for name in self.names for part, words in explained(name)}

    @property
    def json(self) -> Markup:
        """Traces and layout, safe inside a script element; what is not finite is null."""
        inner = self.height - _MARGIN["t"] - _MARGIN["b"]
        legend = {"orientation": "h", "y": -LEGEND_DISTANCE / inner, "yanchor": "top"}
        layout = {**_LAYOUT, "height": self.height, "legend": legend, **self.layout}
        value = finite({"data": list(self.traces), "layout": layout})
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


LEGEND_DISTANCE = 62
"""Pixels from the axis down to the legend: tick labels and the axis' title stand between them."""
MOST_TICKS = 8
_MARGIN = {"l": 64, "r": 16, "t": 32, "b": 56}
_LAYOUT: Mapping[str, Any] = {
    "template": {
        "layout": {
            "xaxis": {"title": {"standoff": 6}},
            "yaxis": {"title": {"standoff": 8}, "automargin": True},
        }
    },
    "margin": _MARGIN,
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "paper_bgcolor": "#ffffff",
    "plot_bgcolor": "#ffffff",
    "colorway": list(COLOURS),
    "hovermode": "closest",
    "uirevision": "kept",
    "modebar": {"bgcolor": "#ffffff", "color": "#8a94a3", "activecolor": "#1f5fa8"},
}


def whiskers(spreads: Sequence[float | None]) -> dict[str, Any]:
    """Error bars of a trace; none where nothing is known of the spread, as with one seed."""
    known = any(each is not None for each in spreads)
    return {"type": "data", "color": INK, "array": list(spreads), "visible": known}


def whole_numbers(largest: float) -> dict[str, Any]:
    """An axis of counts: no tick lies between two of them."""
    return {"dtick": 1} if largest < MOST_TICKS else {}


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def plotly_script() -> Path:
    """The `plotly.min.js` of the installed package.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError([Fault(f"plots need the package plotly: {INSTALL}")])
    return Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"


@cache
def style_ids() -> tuple[str, ...]:
    """Ids of the style sheets that Plotly would write into a page, unless there is one already.

    They are for maps, which no page has, and our policy forbids inline style sheets; so pages
    claim these ids.
    """
    source = plotly_script().read_text(encoding="utf-8")
    return tuple(dict.fromkeys(re.findall(r'getElementById\("([0-9a-f]{64})"\)', source)))
