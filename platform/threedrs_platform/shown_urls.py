"""URLs as people and files may see them: without passwords, tokens or any other secret."""

from __future__ import annotations

import re
from typing import TextIO

HIDDEN = "***"
OPEN_QUERIES = frozenset({"host", "mode", "port", "sslmode", "uri"})
"""Parameters of a URL's query that tell where something is; the values of all others are hidden."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_BESIDE_PATH = re.compile(r"(?P<path>/[^\s'\"<>?]*)\?(?P<query>[^\s'\"<>]*=[^\s'\"<>]*)")


def without_secrets(text: str) -> str:
    """A URL, or any text that may hold some, with user's passwords and query values hidden."""
    shown = _URL.sub(lambda found: _shown(found.group()), text)
    return _BESIDE_PATH.sub(lambda found: f"{found['path']}?{_shown_query(found['query'])}", shown)


def _shown(url: str) -> str:
    scheme, _, rest = url.partition("://")
    # A password may hold any of / ? # although it should not: whatever is before the last @ that
    # a host name follows is the user's.
    before, at, host = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    shown = f"{user}{':' + HIDDEN if colon else ''}{at}{host}"
    if at and not colon and scheme not in ("s3", "ssh"):
        shown = f"{HIDDEN}@{host}" if len(user) > 20 else shown  # a token in place of a user
    place, mark, query = shown.partition("?")
    return f"{scheme}://{place}{mark}{_shown_query(query) if mark else ''}"


def _shown_query(query: str) -> str:
    query, mark, fragment = query.partition("#")
    parts = [part.partition("=") for part in query.split("&")]
    shown = [
        f"{name}={value if name in OPEN_QUERIES or not value else HIDDEN}" if equals else name
        for name, equals, value in parts
    ]
    return "&".join(shown) + mark + fragment


class DiscreetStream:
    """A text stream that passes on what is written without the secrets of URLs in it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, a line at a time as printing and logging do."""
        self._stream.write(without_secrets(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
