"""The scene viewer: frames, features, correspondences, boxes and answers of one scene."""

from threedrs_dashboards.pages import Page, later, one_cell

_HANDLERS = "threedrs_dashboards.viewer.handlers"
PAGE = Page(
    "Scenes",
    "/scenes",
    later(_HANDLERS, "show"),
    more={
        "/scenes/views": later(_HANDLERS, "views"),
        "/scenes/strip.png": later(_HANDLERS, "strip"),
        "/scenes/frame.png": later(_HANDLERS, "frame"),
        "/scenes/thumbnail.png": later(_HANDLERS, "thumbnail"),
        "/scenes/data.json": later(_HANDLERS, "data"),
    },
    words=one_cell,
)
