"""SQLite or PostgreSQL behind one door: read and write transactions, the database's clock."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

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
    exc,
    inspect,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from threedrs_platform.database import schema
from threedrs_platform.database.engines import (
    database_errors,
    lock_tables,
    make_engine,
    place,
    told,
)
from threedrs_platform.database.turns import (
    HELD_PATIENCE_S,
    PATIENCE_S,
    STOP_PATIENCE_S,
    TurnLost,
    lock_holder,
    patience_with,
)
from threedrs_platform.database.urls import SQLITE, sqlite_file
from threedrs_platform.errors import StorageError

RECONNECT_S = 1.0
FIRST_RETRY_S = 0.05

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


T = TypeVar("T")
_LOG = logging.getLogger(__name__)

KEEP_TURNS_S = 86_400.0
"""How long it is known what the last transaction of a writer was."""
KEEPS_MESSAGES = "threedrs_keeps_messages"
"""Option of a connection: False where nobody wants to hear of what it writes."""
BEFORE_COMMIT = "threedrs_before_commit"
"""Key in a connection's `info` of what its transaction still has to write: name -> function."""


class Database:
    """An engine whose tables exist and are of this version."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == SQLITE
        self._local = threading.local()  # the transaction and the patience of each thread
        self._one_writer = threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        """Threads queue here, in turn, rather than in SQLite's busy loop."""
        self._has_worked = False
        self._has_told = False
        self._inserts: dict[Table, Any] = {}
        self._name = uuid.uuid4().hex

    def patiently(self, work: Callable[[], T]) -> T:
        """Do something in whole transactions, again from the start while one of them is lost.

        A server that restarts, a conflict, a lock: none of them is a reason to give up hours of
        work. Within a transaction of this thread the work is a part of that one.

        Raises:
            TurnLost: patience is over.
        """
        if self._joined is not None:
            return work()
        began, delay = time.monotonic(), FIRST_RETRY_S
        while True:
            try:
                return work()
            except TurnLost as lost:
                if time.monotonic() >= self._end(began, lost.patience_s):
                    raise
                self._wait(min(delay, RECONNECT_S), str(lost))
                delay *= 2

    @contextlib.contextmanager
    def patience(self, seconds: float, stop: threading.Event | None = None) -> Iterator[None]:
        """Within it this thread waits at most so long for a database, and hardly after `stop`."""
        before = self._patience
        self._local.patience = (seconds, stop)
        try:
            yield
        finally:
            self._local.patience = before

    @property
    def _patience(self) -> tuple[float, threading.Event | None]:
        return getattr(self._local, "patience", (PATIENCE_S, None))

    def _end(self, began: float, limit_s: float) -> float:
        """When a wait is over."""
        seconds, stop = self._patience
        if stop is not None and stop.is_set():
            limit_s = min(limit_s, STOP_PATIENCE_S)
        return began + min(seconds, limit_s)

    def _wait(self, seconds: float, why: str) -> None:
        if not self._has_told:
            self._has_told = True
            _LOG.warning("%s; waiting for it", why)
        stop = self._patience[1]
        if stop is None or stop.is_set():
            time.sleep(seconds)
        else:
            stop.wait(seconds)

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; on SQLite it takes the write lock at once.

        Within it, further `write` and `read` of the same thread join it: all or nothing.

        Raises:
            TurnLost: nothing has happened, and the same again may succeed.
        """
        if self._joined is not None:
            yield self._joined
            return
        with (
            self._one_writer,  # before SQLite's lock: its holder never waits for our own threads
            database_errors("write to", self.engine),
            # A transaction that reads first and takes the lock later fails if others wrote between.
            self._begun("BEGIN IMMEDIATE") as connection,
        ):
            pending = connection.info  # taken now: a lost connection has none
            self._local.connection = connection
            try:
                yield connection
                for write_rest in pending.pop(BEFORE_COMMIT, {}).values():
                    write_rest(connection)
            finally:
                pending.pop(BEFORE_COMMIT, None)
                self._local.connection = None

    @contextlib.contextmanager
    def _begun(self, begin: str = "BEGIN") -> Iterator[Connection]:
        """A connection in a transaction, committed at the end unless something is raised."""
        connection, transaction = self._begin(begin)
        self._has_worked = True
        with connection:
            try:
                yield connection
                token = "" if begin == "BEGIN" or self.is_sqlite else self._sign(connection)
            except BaseException:
                with contextlib.suppress(exc.SQLAlchemyError):  # what is lost need not be undone
                    transaction.rollback()
                raise
            try:
                transaction.commit()
            except exc.DBAPIError as error:
                connection.invalidate()  # or its next user may find itself in this transaction
                # The answer may be lost of a commit that happened.
                if not token or patience_with(error) is None or not self._has_happened(token):
                    raise
        self._has_told = False

    def _begin(self, begin: str) -> tuple[Connection, RootTransaction]:
        """Begin; this changes nothing, so it is tried again, alone, as long as patience lasts."""
        began = time.monotonic()
        while True:
            try:
                connection = self.engine.connect().execution_options(threedrs_begin=begin)
                try:
                    return connection, connection.begin()
                except BaseException:
                    connection.close()
                    raise
            except exc.OperationalError as error:
                if self.is_sqlite:
                    self._wait_for_lock(error, began)
                elif not self._has_worked or time.monotonic() >= self._end(began, PATIENCE_S):
                    raise
                else:
                    self._wait(RECONNECT_S, told("reach", self.engine, error))

    def _wait_for_lock(self, error: exc.OperationalError, began: float) -> None:
        """Say who holds SQLite's write lock, unless it is time to give up.

        Raises:
            StorageError: the holder is stopped, or the wait has lasted too long.
            OperationalError: the error itself, if it tells of no lock.
        """
        if "database is locked" not in str(error.orig):
            raise error
        holder, is_stopped = lock_holder(sqlite_file(self.engine.url))
        cure = ""
        if is_stopped:
            pid = holder.split()[1]
            cure = f", which is stopped: `kill -CONT {pid}` lets it go on, `kill -9 {pid}` ends it"
        why = f"the database {place(self.engine)} is locked by {holder}{cure}"
        if time.monotonic() >= self._end(began, HELD_PATIENCE_S if is_stopped else PATIENCE_S):
            raise StorageError(why) from error
        self._wait(0.0, why)  # SQLite has waited by itself, for its busy timeout

    def _sign(self, connection: Connection) -> str:
        """Write down in a PostgreSQL transaction that it has happened; returns its token."""
        token, turns = uuid.uuid4().hex, schema.turns
        if not self._is_signed:
            connection.execute(turns.delete().where(turns.c.at < now() - KEEP_TURNS_S))
            self._local.is_signed = True
        row = {"writer": self._writer, "token": token, "at": now()}
        connection.execute(self._upsert_turn(row, token=token, at=now()))
        return token

    def _has_happened(self, token: str) -> bool:
        """Whether the transaction with a token was committed though its answer was lost.

        Waits for the end of one that the server still has open: both write the same row.
        """
        row = {"writer": self._writer, "token": "", "at": now()}
        ask = self._upsert_turn(row, at=now()).returning(schema.turns.c.token)
        with self._begun() as connection:
            return bool(connection.scalar(ask) == token)

    def _upsert_turn(self, row: dict[str, Any], **changes: Any) -> Any:
        insert = self._dialect_insert(schema.turns).values(row)
        return insert.on_conflict_do_update(index_elements=["writer"], set_=changes)

    @property
    def _writer(self) -> str:
        """Of this thread: its transactions follow one another."""
        return f"{self._name}/{threading.get_ident()}"

    @property
    def _is_signed(self) -> bool:
        return getattr(self._local, "is_signed", False)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading."""
        if self._joined is not None:
            yield self._joined
            return
        with database_errors("read", self.engine), self._begun() as connection:
            yield connection

    @contextlib.contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection in no transaction, for what lasts as long as it does."""
        with database_errors("reach", self.engine), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

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

    @property
    def place(self) -> str:
        """Where the database is, for people: without a secret."""
        return place(self.engine)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str, keeps_messages: bool = True) -> Database:
    """Open a database, creating or upgrading its tables.

    Args:
        url: an SQLAlchemy URL, e.g. `sqlite:////path/results.db` or `postgresql+psycopg://...`.
        keeps_messages: leave messages for trackers.

    Raises:
        StorageError: out of reach, read-only, full, or written by a newer version.
    """
    engine = make_engine(url)
    database = Database(engine.execution_options(**{KEEPS_MESSAGES: keeps_messages}))
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
    database = Database(make_engine(url, read_only=True))
    try:
        revision = _revision(database)
    except BaseException:
        database.close()
        raise
    if revision not in schema.READABLE:
        database.close()
        place = database.place
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

        # A turn like any other: it waits as long for whoever writes, or upgrades, at the time.
        with database_errors("upgrade", database.engine), database.write() as connection:
            upgrade(connection, revision)


def _revision(database: Database) -> str | None:
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.scalar(_version.select())
    return str(found) if found is not None else None


def _create_tables(database: Database) -> None:
    """Create all tables and stamp the version, unless another process was faster."""
    with database.write() as connection:
        lock_tables(connection)
        if inspect(connection).has_table("alembic_version"):
            return
        schema.metadata.create_all(connection, checkfirst=False)
        _version.create(connection)
        connection.execute(_version.insert(), {"version_num": schema.REVISION})
