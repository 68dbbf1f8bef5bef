"""A page on which a trained student is asked about a scene."""

from threedrs_dashboards.pages import Page, later, later_post, one_cell

_HANDLERS = "threedrs_dashboards.ask.handlers"
PAGE = Page(
    "Ask",
    "/ask",
    later(_HANDLERS, "show"),
    more={"/ask/picture.png": later(_HANDLERS, "picture")},
    words=one_cell,
    posts={"/ask/question": later_post(_HANDLERS, "put")},
)
