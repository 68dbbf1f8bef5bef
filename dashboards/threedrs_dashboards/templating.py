"""Templates: escaped by default, an undefined name is an error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from threedrs_components.report.metric_words import explain, readable
from threedrs_dashboards.charts import style_ids
from threedrs_dashboards.query import url, url_with


@cache
def environment() -> Environment:
    """The templates of this package."""
    made = Environment(
        loader=PackageLoader("threedrs_dashboards"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(url=url, url_with=url_with, style_ids=style_ids)
    made.globals.update(explain=explain, readable=readable)
    made.filters.update(clock=clock, duration=duration, size=size, folded=folded)
    return made


def render(
    request: Request, template: str, context: Mapping[str, Any], status: int = 200
) -> HTMLResponse:
    """A template as an answer."""
    text = environment().get_template(template).render(request=request, **context)
    return HTMLResponse(text, status)


def folded(difference: str) -> Markup:
    """ "+1.0 [0.2, 1.8] *", to be broken before the interval alone where a column is narrow."""
    value, bracket, rest = difference.partition(" [")
    if not bracket:
        return escape(difference)
    together = Markup('<span class="unbroken">{}</span>')
    return Markup("{} {}").format(together.format(value), together.format(f"[{rest}"))


def clock(seconds: float) -> str:
    """A moment, in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float | None) -> str:
    """0.4 s, 38 s, 12 min, 3.4 h; a dash where unknown."""
    if seconds is None:
        return "-"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def size(number: float | None) -> str:
    """Bytes for people."""
    if number is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
