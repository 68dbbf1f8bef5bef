"""The scene viewer: frames, features, correspondences, boxes and answers of one scene."""

from __future__ import annotations

from importlib import import_module

from starlette.requests import Request
from starlette.responses import Response

from threedrs_dashboards.pages import Handler, Page


def _later(name: str) -> Handler:
    """A handler whose module brings torch, so it is imported when somebody looks at a scene."""

    def handle(request: Request) -> Response:
        handler: Handler = getattr(import_module("threedrs_dashboards.viewer.handlers"), name)
        return handler(request)

    return handle


PAGE = Page(
    "Scenes",
    "/scenes",
    _later("show"),
    more={
        "/scenes/views": _later("views"),
        "/scenes/strip.png": _later("strip"),
        "/scenes/frame.png": _later("frame"),
        "/scenes/data.json": _later("data"),
    },
)
