"""Long lists, one page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from threedrs_dashboards.query import number


@dataclass(frozen=True)
class Paging:
    """Which part of a list is shown."""

    what: str
    """What is listed, e.g. "cells"."""
    total: int
    page: int
    """Counted from 1."""
    per_page: int
    word: str = "page"
    """Of the query string."""

    @property
    def pages(self) -> int:
        """How many pages there are; an empty list has one."""
        return max(1, -(-self.total // self.per_page))

    @property
    def first(self) -> int:
        """Index of the first row that is shown."""
        return (self.page - 1) * self.per_page

    @property
    def last(self) -> int:
        """Index after the last row that is shown."""
        return min(self.total, self.first + self.per_page)


def paging(
    request: Request, what: str, total: int, per_page: int = 50, word: str = "page"
) -> Paging:
    """The part that `?page=N` asks for; beyond the end it is the last one.

    Args:
        word: of the query string; a second list on a page needs another one.
    """
    pages = Paging(what, total, 1, per_page).pages
    return Paging(what, total, number(request, word, 1, 1, pages), per_page, word)
