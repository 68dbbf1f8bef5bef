"""SQLite or PostgreSQL behind one door: read and write transactions, the database's clock."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    MetaData,
    RootTransaction,
    String,
    Table,
    create_engine,
    event,
    exc,
    inspect,
    make_url,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from threedrs_platform.database import schema
from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_platform.storage import storage_errors

BUSY_TIMEOUT_MS = 30_000
IDLE_TRANSACTION_S = 30
PATIENCE_S = 300.0
"""How long to go on asking for SQLite's write lock (its queue is not fair, and disks stall), or for
a PostgreSQL server that went away."""
RECONNECT_S = 1.0
CREATION_LOCK = 0x3D25
"""PostgreSQL advisory lock that serialises the creation of the tables."""

_STORAGE_FAULTS = (exc.DatabaseError, exc.InterfaceError)
_OUR_FAULTS = (exc.DataError, exc.IntegrityError, exc.InternalError, exc.ProgrammingError)
"""Kinds of `DatabaseError` that tell of a wrong statement, not of a bad disk or a lost server."""

_CURES = {
    "unable to open database file": "is the folder writable? choose another --workspace",
    "readonly database": "choose a writable --workspace",
    "database or disk is full": "free some space (`workflows gc --apply`)",
}
"""What would help, by words of SQLite's message."""

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


class now(FunctionElement[float]):
    """The database's clock in seconds since 1970. Leases never trust a client's clock."""

    type = Float()
    inherit_cache = True
    name = "now_s"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


BEFORE_COMMIT = "threedrs_before_commit"
"""Key in a connection's `info` of what its transaction still has to write: name -> function."""


class Database:
    """An engine whose tables exist and are of this version."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._local = threading.local()  # the transaction of each thread
        self._one_writer = threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        """Threads queue here, in turn, rather than in SQLite's busy loop."""
        self._has_worked = False
        self._inserts: dict[Table, Any] = {}

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it takes the write lock at once.

        Within it, further `write` and `read` of the same thread join it: all or nothing.
        """
        if self._joined is not None:
            yield self._joined
            return
        with (
            self._one_writer,  # before SQLite's lock: its holder never waits for our own threads
            _database_errors("write to", self.engine),
            # A transaction that reads first and takes the lock later fails if others wrote between.
            self._begun("BEGIN IMMEDIATE") as connection,
        ):
            self._local.connection = connection
            try:
                yield connection
                for write_rest in connection.info.pop(BEFORE_COMMIT, {}).values():
                    write_rest(connection)
            finally:
                connection.info.pop(BEFORE_COMMIT, None)
                self._local.connection = None

    @contextlib.contextmanager
    def _begun(self, begin: str = "BEGIN") -> Iterator[Connection]:
        """A connection in a transaction, committed at the end unless something is raised.

        Beginning changes nothing, so it is tried again while others hold SQLite's lock, and while
        a server that has answered before does not answer: a restart of the database is no reason
        to give up hours of work.
        """
        connection, transaction = self._begin(begin)
        with connection, transaction:
            self._has_worked = True
            yield connection

    def _begin(self, begin: str) -> tuple[Connection, RootTransaction]:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection = self.engine.connect().execution_options(threedrs_begin=begin)
            except exc.OperationalError:
                if self.is_sqlite or not self._has_worked or time.monotonic() > end:
                    raise
            else:
                try:
                    return connection, connection.begin()
                except exc.OperationalError as error:
                    connection.close()
                    is_locked = "database is locked" in str(error.orig)
                    if not (is_locked and self.is_sqlite) or time.monotonic() > end:
                        raise
            if not self.is_sqlite:  # SQLite has waited by itself, for its busy timeout
                time.sleep(RECONNECT_S)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading."""
        if self._joined is not None:
            yield self._joined
            return
        with _database_errors("read", self.engine), self._begun() as connection:
            yield connection

    @property
    def _joined(self) -> Connection | None:
        """The transaction that this thread is in."""
        return getattr(self._local, "connection", None)

    def insert_new(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[dict[str, Any]],
        **computed: ColumnElement[Any],
    ) -> None:
        """Insert rows, leaving alone those whose primary key exists already."""
        if not rows:
            return
        if table not in self._inserts:
            statement = self._dialect_insert(table)
            if computed:
                statement = statement.values(**computed)
            self._inserts[table] = statement.on_conflict_do_nothing()
        connection.execute(self._inserts[table], list(rows))

    def _dialect_insert(self, table: Table) -> Any:
        """An insert that knows ON CONFLICT; each dialect takes time to import."""
        if self.is_sqlite:
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        return insert(table)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database, creating or upgrading its tables.

    Args:
        url: an SQLAlchemy URL, e.g. `sqlite:////path/results.db` or `postgresql+psycopg://...`.

    Raises:
        StorageError: out of reach, read-only, full, or written by a newer version.
    """
    database = Database(_create_engine(url))
    try:
        _bring_up_to_date(database)
    except BaseException:
        database.close()
        raise
    return database


def open_read_only(url: str) -> Database:
    """Open a database for reading; whoever writes to it meets an error of the database itself.

    Args:
        url: as of `open_database`.

    Raises:
        StorageError: out of reach, absent, or its tables are of another version.
    """
    database = Database(_create_engine(url, read_only=True))
    try:
        revision = _revision(database)
    except BaseException:
        database.close()
        raise
    if revision != schema.REVISION:
        database.close()
        place = database.engine.url.render_as_string(hide_password=True)
        raise StorageError(
            f"the database {place} has tables of version {revision}, this program reads "
            f"{schema.REVISION}; any `workflows` verb upgrades older ones (`workflows status`)"
        )
    return database


def _bring_up_to_date(database: Database) -> None:
    revision = _revision(database)
    if revision is None:
        _create_tables(database)
    elif revision != schema.REVISION:
        from threedrs_platform.database.migrations.upgrade import upgrade

        with _database_errors("upgrade", database.engine):
            upgrade(database.engine, revision)


def sqlite_url(file: Path) -> str:
    """URL of an SQLite file; makes its folder."""
    with storage_errors(f"create the folder of {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file.resolve()}"


def _create_engine(url: str, read_only: bool = False) -> Engine:
    if _dialect(url) != "sqlite":
        return _postgresql_engine(url, read_only)
    # WAL: readers never wait. NORMAL: a crash loses no commit, a power failure the last ones.
    pragmas = [f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=NORMAL"]
    if read_only:
        url, pragmas = _read_only_url(url), [*pragmas[:1], "query_only=ON"]
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000}, hide_parameters=True
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


def _dialect(url: str) -> str:
    """Kind of the database at a URL.

    Raises:
        ConfigError: no URL, or of a database that is not supported.
    """
    try:
        dialect = make_url(url).get_backend_name()
    except exc.ArgumentError:
        dialect = ""
    if dialect not in ("sqlite", "postgresql"):
        shown = "" if "@" in url else f" {url!r}"
        message = (
            f"the database{shown}: expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        )
        raise ConfigError([Fault(message)])
    return dialect


def _read_only_url(url: str) -> str:
    """An SQLite URL that neither creates a file nor changes one."""
    file = make_url(url).database or ""
    still = "&immutable=1" if is_archived(Path(file)) else ""
    return f"sqlite:///file:{quote(file)}?mode=ro{still}&uri=true"


def is_archived(file: Path) -> bool:
    """Whether an SQLite file lies where this process cannot write, and nobody has it open.

    SQLite then has to be told that the file stands still: it could not make the files beside it
    by which readers and writers of a log know of each other.
    """
    log = file.with_name(f"{file.name}-wal")
    shared = file.with_name(f"{file.name}-shm")
    has_log = log.exists() and log.stat().st_size > 0
    return not (os.access(file.parent, os.W_OK) or shared.exists() or has_log)


def _postgresql_engine(url: str, read_only: bool = False) -> Engine:
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        """Let the server end transactions of processes that were stopped in the middle of one."""
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
        connection.commit()  # else the next rollback takes the settings back

    return engine


def _revision(database: Database) -> str | None:
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.scalar(_version.select())
    return str(found) if found is not None else None


def _create_tables(database: Database) -> None:
    """Create all tables and stamp the version, unless another process was faster."""
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({CREATION_LOCK})"))
        if inspect(connection).has_table("alembic_version"):
            return
        schema.metadata.create_all(connection, checkfirst=False)
        _version.create(connection)
        connection.execute(_version.insert(), {"version_num": schema.REVISION})


@contextlib.contextmanager
def _database_errors(doing: str, engine: Engine) -> Iterator[None]:
    """Turn an unreachable, read-only, full or damaged database into a `StorageError`."""
    try:
        yield
    except _STORAGE_FAULTS as error:
        if isinstance(error, _OUR_FAULTS):
            raise
        place = engine.url.render_as_string(hide_password=True)
        reason = str(error.orig).strip() or type(error.orig).__name__
        cures = [cure for words, cure in _CURES.items() if words in reason]
        reason = "; ".join([reason, *cures])
        raise StorageError(f"cannot {doing} the database {place}: {reason}") from error
