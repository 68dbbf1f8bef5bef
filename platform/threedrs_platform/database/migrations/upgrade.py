"""Brings an older database up to the newest tables."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from threedrs_platform.database import schema
from threedrs_platform.database.engines import place
from threedrs_platform.errors import StorageError


def alembic_config() -> Config:
    """Alembic's configuration: the scripts beside this file, no ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


_ALONE = threading.Lock()
"""Alembic keeps the migration that is under way in globals."""


def upgrade(connection: Connection, found: str, to: str = schema.REVISION) -> None:
    """Apply all migrations after the found one, in the transaction that a connection is in.

    Raises:
        StorageError: the database was written by a newer version of this program.
    """
    config = alembic_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found and found not in known:
        raise StorageError(
            f"the database {place(connection.engine)} has tables of version "
            f"{found}, which this program does not know; use a newer program or another --db"
        )
    with _ALONE:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
