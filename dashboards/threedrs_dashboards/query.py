"""A page's state: all of it stands in the query string, so that a URL can be shared."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault


def text(request: Request, name: str, default: str = "") -> str:
    """A word of the query string."""
    return request.query_params.get(name, default)


def number(request: Request, name: str, default: int, low: int = 0, high: int = 10**9) -> int:
    """A whole number of the query string, kept between two limits.

    Raises:
        ConfigError: it is no whole number.
    """
    given = request.query_params.get(name, "")
    if not given:
        return default
    try:
        return min(max(int(given), low), high)
    except ValueError:
        raise ConfigError([Fault(f"{given!r} is no whole number", path=name)]) from None


def choice(request: Request, name: str, options: Sequence[str], default: str = "") -> str:
    """A word that has to be one of the options; the default, else the first, where it is absent.

    Raises:
        ConfigError: it is another word.
    """
    given = request.query_params.get(name, "")
    if given and given not in options:
        raise ConfigError([Fault(f"no {given!r} here{did_you_mean(given, options)}", path=name)])
    return given or default or next(iter(options), "")


def several(request: Request, name: str) -> tuple[str, ...]:
    """All values of a word that may be repeated, in order and each once."""
    return tuple(dict.fromkeys(each for each in request.query_params.getlist(name) if each))


def url_with(request: Request, **changes: str | int | None) -> str:
    """This page's URL with some words of its query string changed; None takes one out."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    new = [(key, str(value)) for key, value in changes.items() if value is not None]
    return f"{request.url.path}?{urlencode([*kept, *new])}"


def url(path: str, **words: str | int | None) -> str:
    """The URL of a page in a state; words that are None or empty are left out."""
    given = {key: value for key, value in words.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
