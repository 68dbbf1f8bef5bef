"""The application: pages, static files, guards, and errors as pages that say what to do."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from threedrs_dashboards.charts import plotly_script
from threedrs_dashboards.guard import HOSTS, Guard
from threedrs_dashboards.pages import PageFailed, all_pages, navigation
from threedrs_dashboards.store import NoRunYet, Store, store_of
from threedrs_dashboards.templating import render
from threedrs_platform.errors import ConfigError, StorageError, ThreedrsError
from threedrs_platform.workspace import Workspace

STATIC = Path(__file__).parent / "static"
TITLE = "This cannot be shown"
A_DAY = {"Cache-Control": "max-age=86400"}


def create_app(workspace: Workspace, mlflow: str = "", rooms: Path | None = None) -> Starlette:
    """The pages over one workspace (`find_workspace` finds it). Reads, never writes.

    Args:
        workspace: whose results are shown.
        mlflow: address of MLflow's pages of the same runs, to link to; empty for none.
        rooms: folder whose scene folders can be asked about, beside the scenes of runs.

    Raises:
        ConfigError: a package that the pages need is not installed.
    """
    pages = all_pages()
    script = plotly_script()

    def plotly(request: Request) -> Response:
        return FileResponse(script, media_type="text/javascript", headers=A_DAY)

    def home(request: Request) -> Response:
        return RedirectResponse(pages[0].path)

    app = Starlette(
        routes=[
            Route("/", home),
            Route("/static/plotly.min.js", plotly),
            Mount("/static", StaticFiles(directory=STATIC)),
            *(route for page in pages for route in page.routes),
        ],
        middleware=[
            Middleware(Guard, forms=[path for page in pages for path in page.posts or ()]),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        ],
        exception_handlers={ThreedrsError: _our_error, HTTPException: _http_error},
    )
    app.state.store, app.state.rooms = Store(workspace), rooms
    app.state.mlflow = mlflow.rstrip("/") if mlflow.startswith(("http://", "https://")) else ""
    return app


def _our_error(request: Request, error: Exception) -> Response:
    """An error that tells people what to do; the status says whose fault it is."""
    status = 500
    if isinstance(error, NoRunYet):
        return _welcome(request)
    if isinstance(error, ConfigError):
        status = 404
    elif isinstance(error, StorageError):
        status = 503
    title = "This page failed" if isinstance(error, PageFailed) else TITLE
    return _error_page(request, str(error), status, title)


def _welcome(request: Request) -> Response:
    """What a page shows before anything has been submitted."""
    context = {
        "links_to_pages": navigation(request),
        "title": "Welcome to threedrs",
        "place": store_of(request).workspace.root,
    }
    return render(request, "welcome.html", context)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_page(request, error.detail, error.status_code)


def _error_page(request: Request, message: str, status: int, title: str = TITLE) -> Response:
    context = {
        "links_to_pages": navigation(request),
        "title": title,
        "message": message,
    }
    return render(request, "error.html", context, status)
