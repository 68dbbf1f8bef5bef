"""Fresh databases for tests: SQLite always, PostgreSQL where THREEDRS_TEST_POSTGRES names one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from threedrs_platform.database.urls import sqlite_url

POSTGRES_VARIABLE = "THREEDRS_TEST_POSTGRES"


def database_kinds() -> list[str]:
    """The kinds of database that can be tested here."""
    return ["sqlite", "postgresql"] if os.environ.get(POSTGRES_VARIABLE) else ["sqlite"]


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty database that is gone afterwards."""
    if kind == "sqlite":
        yield sqlite_url(folder / "results.db")
        return
    url = make_url(os.environ[POSTGRES_VARIABLE])
    name = f"threedrs_{uuid.uuid4().hex[:12]}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        server.dispose()
