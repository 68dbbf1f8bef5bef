"""Where MLflow keeps its runs, and what must follow a workspace or its pages to another place."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from threedrs_platform.database.urls import sqlite_file
from threedrs_platform.tracking.names import NOTE

ARTIFACTS = "mlartifacts"
"""Folder of a workspace for MLflow's attachments."""

_PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
}
"""Column of each of MLflow's tables that holds an absolute place."""


@dataclass(frozen=True)
class Target:
    """Where MLflow keeps its runs."""

    uri: str
    artifacts: Path | None = None
    """Folder for attachments; None where the server decides."""
    git_commit: str = ""
    """The commit of the source tree, if it is one."""


def mend_places(target: Target) -> None:
    """Point a workspace's own MLflow at its attachments after it was copied or moved.

    MLflow stores absolute places: a copy would write into the folder of its original.
    """
    if target.artifacts is None:
        return
    file = sqlite_file(make_url(target.uri))
    if not file.exists():
        return
    here = f"{target.artifacts.as_uri()}/"
    with contextlib.closing(sqlite3.connect(file, timeout=30.0)) as connection, connection:
        known = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if not known.issuperset(_PLACES):  # MLflow has not made its tables yet
            return
        query = "SELECT DISTINCT artifact_location FROM experiments"
        for (place,) in connection.execute(query).fetchall():
            before, mark, _ = (place or "").rpartition(f"/{ARTIFACTS}/")
            old = before + mark
            if not mark or old == here:
                continue
            for table, column in _PLACES.items():
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (here, len(old) + 1, len(old), old),
                )


TO_PAGES = "[the dashboards]("
"""How a link of a note to the dashboards begins; links that people wrote have other words."""
_PAGES = re.compile(re.escape(TO_PAGES) + r"http://127\.0\.0\.1:\d+/")


def mend_links(target: Target, pages: str) -> None:
    """Point the notes of a workspace's own MLflow at where the dashboards are served now.

    Args:
        target: that MLflow.
        pages: address of the dashboards, "http://127.0.0.1:8365".
    """
    file = sqlite_file(make_url(target.uri)) if target.artifacts is not None else None
    if file is None or not file.exists():
        return
    here = f"{TO_PAGES}{pages}/"
    linked = "SELECT rowid, value FROM tags WHERE key = ? AND instr(value, ?) > 0"
    # A store without these tables yet, or one that can only be read, keeps its links.
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(file, timeout=30.0)) as connection,
        connection,
    ):
        found = connection.execute(linked, (NOTE, TO_PAGES)).fetchall()
        renewed = ((_PAGES.sub(lambda _: here, note), note, row) for row, note in found)
        mended = [(new, row) for new, old, row in renewed if new != old]
        connection.executemany("UPDATE tags SET value = ? WHERE rowid = ?", mended)
