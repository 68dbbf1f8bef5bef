"""Engines of SQLite and PostgreSQL as we want them, and what their errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc

from threedrs_platform.database.turns import TurnLost, patience_with
from threedrs_platform.database.urls import SQLITE, database_url, read_only_url
from threedrs_platform.errors import StorageError
from threedrs_platform.shown_urls import without_secrets

BUSY_TIMEOUT_MS = 2_000
"""How long SQLite itself waits for a lock before we look who holds it."""
IDLE_TRANSACTION_S = 30
TABLES_LOCK = 0x3D25
"""PostgreSQL advisory lock that serialises creations and upgrades of the tables."""

_STORAGE_FAULTS = (exc.DatabaseError, exc.InterfaceError)
_OUR_FAULTS = (exc.DataError, exc.IntegrityError, exc.InternalError, exc.ProgrammingError)
"""Kinds of `DatabaseError` that tell of a wrong statement, not of a bad disk or a lost server."""

_CURES = {
    "unable to open database file": "is the folder writable? choose another --workspace",
    "readonly database": "choose a writable --workspace",
    "database or disk is full": "free some space (`workflows gc --apply`)",
}
"""What would help, by words of SQLite's message."""


def make_engine(url: str, read_only: bool = False) -> Engine:
    """The engine of a database; begins transactions of SQLite as it is told."""
    address = database_url(url)
    if address.get_backend_name() != SQLITE:
        return _postgresql_engine(address, read_only)
    # WAL: readers never wait. NORMAL: a crash loses no commit, a power failure the last ones.
    pragmas = [f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=NORMAL"]
    if read_only:
        address, pragmas = read_only_url(address), [*pragmas[:1], "query_only=ON"]
    engine = create_engine(
        address, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begin = connection.get_execution_options().get("threedrs_begin", "BEGIN")
        connection.exec_driver_sql(begin)

    return engine


def _postgresql_engine(url: URL, read_only: bool = False) -> Engine:
    try:
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise StorageError(
            "PostgreSQL needs the package psycopg: pip install -e '.[postgresql]'"
        ) from error

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        """Let the server end transactions of processes that were stopped in the middle of one."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
        connection.commit()  # else the next rollback takes the settings back

    return engine


def lock_tables(connection: Connection) -> None:
    """Of processes that create or upgrade PostgreSQL's tables, let one at a time."""
    if connection.dialect.name != SQLITE:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({TABLES_LOCK})")


@contextlib.contextmanager
def database_errors(doing: str, engine: Engine) -> Iterator[None]:
    """Turn an unreachable, read-only, full or damaged database into a `StorageError`."""
    try:
        yield
    except exc.PendingRollbackError as error:  # somebody went on after a lost connection
        raise TurnLost(f"cannot {doing} the database {place(engine)}: {error}") from error
    except _STORAGE_FAULTS as error:
        patience = patience_with(error)
        if patience is not None:
            raise TurnLost(told(doing, engine, error), patience) from error
        if isinstance(error, _OUR_FAULTS):
            raise
        raise StorageError(told(doing, engine, error)) from error


def told(doing: str, engine: Engine, error: exc.DBAPIError) -> str:
    """An error of a database in plain words, with a cure where one is known."""
    reason = without_secrets(str(error.orig).strip()) or type(error.orig).__name__
    cures = [cure for words, cure in _CURES.items() if words in reason]
    return f"cannot {doing} the database {place(engine)}: {'; '.join([reason, *cures])}"


def place(engine: Engine) -> str:
    """Where a database is, without a secret."""
    return without_secrets(engine.url.render_as_string(hide_password=True))
