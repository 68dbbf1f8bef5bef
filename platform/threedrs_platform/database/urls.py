"""URLs of databases: built from parts, and shown without their secrets."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy import URL, exc, make_url

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors

SQLITE, POSTGRESQL = "sqlite", "postgresql"


def database_url(url: str) -> URL:
    """A database's URL in its parts; PostgreSQL is spoken to through psycopg.

    Raises:
        ConfigError: no URL, or of a database that is not supported.
    """
    try:
        found = make_url(url)
        dialect = found.get_backend_name()
    except (exc.ArgumentError, ValueError):  # the latter of a port that is no number
        found, dialect = URL.create("none"), ""
    if dialect == POSTGRESQL and url.partition("?")[0].count("@") > 1:
        # Read otherwise, a part of the password would be the host, and shown as such.
        message = "the database's URL: write @ in a user or password as %40, / as %2F and : as %3A"
        raise ConfigError([Fault(message)])
    if dialect not in (SQLITE, POSTGRESQL):
        shown = "" if "@" in url or "=" in url else f" {url!r}"
        message = (
            f"the database{shown}: expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        )
        raise ConfigError([Fault(message)])
    return found.set(drivername="postgresql+psycopg") if dialect == POSTGRESQL else found


def sqlite_url(file: Path) -> str:
    """URL of an SQLite file; makes its folder."""
    with place_errors(f"make the workspace {file.parent}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    return file_url(file)


def file_url(file: Path) -> str:
    """URL of an SQLite file, whatever its folders are called, for us, MLflow and Optuna."""
    return URL.create(SQLITE, database=str(file.resolve())).render_as_string()


def read_only_url(url: URL) -> URL:
    """An SQLite URL that neither creates a file nor changes one."""
    file = url.database or ""
    if "uri" not in url.query:
        file = f"file:{quote(file)}"
    still = {"immutable": "1"} if is_archived(sqlite_file(url)) else {}
    return url.set(database=file, query={**url.query, "mode": "ro", **still, "uri": "true"})


def is_archived(file: Path) -> bool:
    """Whether an SQLite file lies where this process cannot write, and nobody has it open.

    SQLite then has to be told that the file stands still: it could not make the files beside it
    by which readers and writers of a log know of each other.
    """
    log = file.with_name(f"{file.name}-wal")
    shared = file.with_name(f"{file.name}-shm")
    has_log = log.exists() and log.stat().st_size > 0
    return not (os.access(file.parent, os.W_OK) or shared.exists() or has_log)


def sqlite_file(url: URL) -> Path:
    """The file behind an SQLite URL."""
    file = url.database or ""
    return Path(unquote(file.removeprefix("file:")) if "uri" in url.query else file)
