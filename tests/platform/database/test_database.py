import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, exc, inspect, select, text

from threedrs_platform.database import engines, schema
from threedrs_platform.database.connection import (
    Database,
    now,
    open_database,
    open_read_only,
)
from threedrs_platform.database.engines import lock_tables, make_engine
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import ConfigError, StorageError
from threedrs_platform.testing.databases import database_kinds, fresh_database


@pytest.fixture(params=database_kinds())
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database(request.param, tmp_path) as found:
        yield found


def test_a_fresh_database_has_all_tables(url: str) -> None:
    database = open_database(url)
    with database.read() as connection:
        assert set(schema.metadata.tables) <= set(inspect(connection).get_table_names())
    database.close()


def test_migrations_lead_to_the_same_tables_as_creation(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from threedrs_platform.database.migrations.upgrade import upgrade

    database = Database(make_engine(url))
    with database.write() as connection:
        upgrade(connection, "")
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    database.close()
    open_database(url).close()


def test_a_database_of_a_newer_program_is_refused(url: str) -> None:
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StorageError, match="tables of version 9999, which this program does not"):
        open_database(url)


def test_many_processes_may_open_a_fresh_database_at_once(url: str) -> None:
    failures: list[BaseException] = []

    def opening() -> None:
        try:
            open_database(url).close()
        except BaseException as error:  # a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=opening) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_who_waits_for_another_ones_upgrade_upgrades_nothing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 100)  # that of SQLite itself is no limit
    opened = open_database(url)
    with opened.write() as connection:  # the tables of an older version
        schema.score_sums.drop(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '0005'"))
    with ThreadPoolExecutor(1) as pool:
        with opened.write() as connection:
            lock_tables(connection)
            second = pool.submit(open_database, url)
            time.sleep(0.5)  # it has seen the older version
            schema.score_sums.create(connection)
            version = {"version": schema.REVISION}
            connection.execute(text("UPDATE alembic_version SET version_num = :version"), version)
        second.result().close()
    opened.close()


def test_the_clock_is_the_databases_own(url: str) -> None:
    database = open_database(url)
    with database.read() as connection:
        first, second = (connection.scalar(select(now())) for _ in range(2))
    assert first is not None and second is not None and 1.7e9 < first <= second
    database.close()


def test_a_failed_transaction_leaves_nothing(url: str) -> None:
    database = open_database(url)
    row = {"digest": "d", "bytes": 1, "files": 1, "created_at": 0.0}
    with pytest.raises(ValueError, match="stop"), database.write() as connection:
        connection.execute(schema.artifacts.insert(), row)
        raise ValueError("stop")
    with database.read() as connection:
        assert connection.execute(select(schema.artifacts)).all() == []
    database.close()


def test_opening_a_fresh_sqlite_file_needs_no_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from threedrs_platform.database.connection import open_database;"
        f"open_database({sqlite_url(tmp_path / 'new.db')!r});"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        sqlite_url(tmp_path / "deep" / "results.db")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.db").mkdir()
    with pytest.raises(StorageError, match=r"cannot read the database sqlite:.*results\.db"):
        open_database(sqlite_url(tmp_path / "results.db"))


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_text("not a database at all")
    with pytest.raises(StorageError, match=r"results\.db: file is not a database"):
        open_database(sqlite_url(tmp_path / "results.db"))


def test_a_password_is_not_in_the_message() -> None:
    pytest.importorskip("psycopg")
    address = "postgresql+psycopg://me:hunter2@127.0.0.1:1/nothing"
    with pytest.raises(StorageError, match="cannot read the database") as caught:
        open_database(address)
    assert "hunter2" not in str(caught.value)
    assert create_engine(address).url.password == "hunter2"


def test_a_server_that_went_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that has answered before: a wrong address is told at once."""
    database = open_database(sqlite_url(tmp_path / "results.db"))
    connect, failures = database.engine.connect, 2

    def flaky() -> Connection:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise exc.OperationalError("connect", None, Exception("server closed the connection"))
        return connect()

    monkeypatch.setattr(database.engine, "connect", flaky)
    monkeypatch.setattr(database, "is_sqlite", False)
    monkeypatch.setattr("threedrs_platform.database.connection.RECONNECT_S", 0.0)
    with database.read() as connection:
        assert connection.execute(select(schema.runs)).all() == []
    failures = 1
    monkeypatch.setattr(database, "_has_worked", False)
    with pytest.raises(StorageError, match="server closed the connection"), database.read():
        pass


def test_a_database_opened_for_reading_reads_and_refuses_to_write(url: str) -> None:
    writer = open_database(url)
    reader = open_read_only(url)
    with writer.write() as connection:
        connection.execute(
            schema.artifacts.insert(), {"digest": "d", "bytes": 1, "files": 1, "created_at": 0.0}
        )
    with reader.read() as connection:
        assert connection.scalars(select(schema.artifacts.c.digest)).all() == ["d"]
    refusal = pytest.raises((StorageError, exc.InternalError), match=r"read-?only")
    with refusal, reader.write() as connection:
        connection.execute(schema.artifacts.delete())
    reader.close()
    writer.close()


def test_opening_for_reading_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open"):
        open_read_only(f"sqlite:///{tmp_path / 'absent.db'}")
    assert list(tmp_path.iterdir()) == []


def test_tables_of_another_version_are_not_read(url: str) -> None:
    database = open_database(url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    database.close()
    with pytest.raises(StorageError, match="tables of version 0000"):
        open_read_only(url)


@pytest.mark.parametrize(
    "url",
    ["foo://x", "results", "", "mysql://me:secret@host/x", "postgresql://me:secret@host:none/x"],
)
def test_a_url_of_no_known_database_is_a_wrong_flag(url: str) -> None:
    with pytest.raises(ConfigError, match="expected sqlite:///FILE or postgresql") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_password_that_reads_as_a_host_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="write @ in a user or password as %40") as caught:
        open_database("postgresql+psycopg://me:one@two/three@127.0.0.1:5432/x")
    assert "two" not in str(caught.value)


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    folder = tmp_path / "100% ?#%20 @b&c"
    url = sqlite_url(folder / "results.db")
    open_database(url).close()
    open_read_only(url).close()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert (folder / "results.db").exists()


def test_postgresql_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"pip install -e '\.\[postgresql\]'"):
        open_database("postgresql://me@host/name")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_a_stopped_holder_of_the_lock_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sqlite_url(tmp_path / "results.db")
    database = open_database(url)
    program = (
        "import sys, time\n"
        "from threedrs_platform.database.connection import open_database\n"
        f"with open_database({url!r}).write() as connection:\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr("threedrs_platform.database.connection.HELD_PATIENCE_S", 0.0)
        with (
            pytest.raises(StorageError, match=f"locked by process {holder.pid} .* is stopped"),
            database.write(),
        ):
            pass
        holder.kill()
    with database.write() as connection:
        connection.execute(schema.artifacts.delete())
    database.close()
