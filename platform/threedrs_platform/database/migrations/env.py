"""Alembic's entry: runs the migrations on the connection it is given."""

from __future__ import annotations

from alembic import context

from threedrs_platform.database import schema
from threedrs_platform.database.engines import lock_tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.metadata,
    render_as_batch=True,
    transactional_ddl=True,  # in SQLite, too: all steps or none
)
with context.begin_transaction():  # a part of the connection's own
    lock_tables(connection)  # before Alembic reads the version: another may be upgrading
    context.run_migrations()
