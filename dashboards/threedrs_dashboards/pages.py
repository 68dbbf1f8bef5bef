"""The pages there are, and how one is answered. A page is a module with a `PAGE`, and a line here.

A handler is a plain function of the request (it runs in a thread) that ends in `respond`. All
state is in the query string (`query.py`), and paths are fixed, so no URL names a file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.query import choice
from threedrs_dashboards.store import store_of
from threedrs_dashboards.tables import LazyTable, Table, csv_response
from threedrs_dashboards.templating import render
from threedrs_platform.database.turns import TurnLost
from threedrs_platform.errors import ThreedrsError

MODULES: tuple[str, ...] = (
    "runs",
    "reading",
    "ablation",
    "compare",
    "cell",
    "correspondence",
    "viewer",
    "ask",
    "tuning",
    "glossary",
)
"""Modules of this package that hold a `PAGE`, in the order of the navigation."""

MOST_TOLD = 300
"""Characters of an unforeseen error's own words that its page tells."""
_logger = logging.getLogger(__name__)
PATIENCE_S, AGAIN_AFTER_S = 10.0, 0.5
"""How long a page waits for a database that is away, and before it is read again."""
Handler = Callable[[Request], Response]
PostHandler = Callable[[Request], Awaitable[Response]]
"""Reads the body of a request, for which it has to wait."""


@dataclass(frozen=True)
class Focus:
    """The cell that a reader looks at, and the one it is compared with: links keep both."""

    cell: str
    against: str
    seed: int | None = None


def one_cell(focus: Focus) -> Sequence[tuple[str, object]]:
    """For a page about one cell under one seed."""
    seed = [] if focus.seed is None else [("seed", focus.seed)]
    return [("cell", focus.cell), ("against", focus.against), *seed]


@dataclass(frozen=True)
class Page:
    """One entry of the navigation with everything that is served for it."""

    title: str
    path: str
    """Where it begins, e.g. "/runs"."""
    handler: Handler
    more: Mapping[str, Handler] | None = None
    """Further paths of this page, such as images."""
    posts: Mapping[str, PostHandler] | None = None
    """Paths that a form of this page is sent to; the guard lets no other form through."""
    keeps_run: bool = True
    """Whether its link in the navigation leads to the run that is being looked at."""
    words: Callable[[Focus], Sequence[tuple[str, object]]] | None = None
    """How its URL names the cells that are being looked at; None where it is not about cells."""

    @property
    def routes(self) -> Sequence[Route]:
        """What the server answers."""
        handlers = {self.path: self.handler, **(self.more or {})}
        return [
            *(
                Route(path, foreseen(patient(handler), self.title), methods=["GET"])
                for path, handler in handlers.items()
            ),
            *(
                Route(path, foreseen_post(handler, self.title), methods=["POST"])
                for path, handler in (self.posts or {}).items()
            ),
        ]


class PageFailed(ThreedrsError):
    """A page ended in an error that nobody foresaw; the log has it with its traceback."""


def foreseen(handler: Handler, title: str) -> Handler:
    """Turns what nobody foresaw into an error that the server answers as a page."""

    @wraps(handler)
    def handle(request: Request) -> Response:
        try:
            return handler(request)
        except (ThreedrsError, HTTPException):
            raise
        except Exception as error:
            raise _failed(request, title, error) from error

    return handle


def foreseen_post(handler: PostHandler, title: str) -> PostHandler:
    """The same for a form."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except (ThreedrsError, HTTPException):
            raise
        except Exception as error:
            raise _failed(request, title, error) from error

    return handle


def _failed(request: Request, title: str, error: Exception) -> PageFailed:
    """Written to the log of the server, and told in words."""
    _logger.error("%s could not be answered", request.url, exc_info=error)
    wanted = request.query_params.get("csv")
    what = f"The data {wanted!r} of page {title}" if wanted else f"Page {title}"
    first = (str(error).splitlines() or [""])[0][:MOST_TOLD]
    cause = ": ".join(filter(None, (type(error).__name__, first)))
    log = store_of(request).workspace.root / "logs" / "ui.log"
    return PageFailed(
        f"{what} ({request.url.path}) could not be made: {cause}.\n"
        "This is a fault of these pages, not of the run; no result was touched. The log of this "
        f"server says where it happened (`workflows ui` writes it to {log}). The other pages work; "
        "without the choices behind the `?` of its address this one may, too."
    )


def patient(handler: Handler) -> Handler:
    """Answers once more where the database was lost meanwhile, as by a restart of its server."""

    @wraps(handler)
    def handle(request: Request) -> Response:
        with store_of(request).patience(PATIENCE_S):
            try:
                return handler(request)
            except TurnLost:
                time.sleep(AGAIN_AFTER_S)
                return handler(request)

    return handle


def later(module: str, name: str) -> Handler:
    """A handler whose module brings torch, so it is imported when somebody looks at its page."""

    def handle(request: Request) -> Response:
        handler: Handler = getattr(import_module(module), name)
        return handler(request)

    return handle


def later_post(module: str, name: str) -> PostHandler:
    """The same for a form."""

    async def handle(request: Request) -> Response:
        handler: PostHandler = getattr(import_module(module), name)
        return await handler(request)

    return handle


@cache
def all_pages() -> tuple[Page, ...]:
    """Every page, in the order of the navigation."""
    return tuple(import_module(f"threedrs_dashboards.{name}").PAGE for name in MODULES)


@dataclass(frozen=True)
class Link:
    """One entry of the navigation, as a page shows it."""

    title: str
    href: str
    is_current: bool


def navigation(request: Request, run_id: str = "", focus: Focus | None = None) -> list[Link]:
    """Links to every page, which keep the run and the cells that are being looked at."""
    found = []
    for page in all_pages():
        words: list[tuple[str, object]] = []
        if run_id and page.keeps_run:
            words.append(("run", run_id))
            words += page.words(focus) if page.words and focus else ()
        href = f"{page.path}?{urlencode(words)}" if words else page.path
        found.append(Link(page.title, href, request.url.path == page.path))
    return found


def respond(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    charts: Sequence[Chart] = (),
    tables: Mapping[str, Table | LazyTable] | None = None,
) -> Response:
    """A page; or with `?csv=NAME` the data of one of its charts or tables.

    Args:
        context: the template's variables; "title" is the page's heading, "run" the run (a
            `RunSummary`) and "focus" the cells (a `Focus`) that links of the navigation keep.
        charts: in the template `charts` by name, to be drawn with `plots.html`.
        tables: further data to save, by name.

    Raises:
        ConfigError: nothing on this page has the name that is to be saved.
    """
    sources = {**{chart.name: chart.table for chart in charts}, **(tables or {})}
    wanted = choice(request, "csv", ["", *sources])
    if wanted:
        source = sources[wanted]
        return csv_response(source if isinstance(source, Table) else source(), wanted)
    by_name = {chart.name: chart for chart in charts}
    run = context.get("run")
    links = navigation(request, run.run_id if run else "", context.get("focus"))
    return render(request, template, {"links_to_pages": links, "charts": by_name, **context})
