"""JSON in a column of the database, which a disk may have damaged."""

from __future__ import annotations

import json
from typing import Any

from threedrs_platform.errors import StorageError


def kept_object(text: str | None, what: str) -> dict[str, Any]:
    """The object that a column holds; an empty one for NULL.

    Args:
        text: the column.
        what: what it is, for people.

    Raises:
        StorageError: it is not what was written.
    """
    try:
        found = json.loads("{}" if text is None else text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise damaged(what)
    return found


def damaged(what: str) -> StorageError:
    """The error of something that is not as it was written."""
    return StorageError(
        f"the database holds {what} that can no longer be read: its file is damaged; restore "
        "an earlier copy of it"
    )
