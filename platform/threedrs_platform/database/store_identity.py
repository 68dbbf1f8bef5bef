"""Which artifact store a database belongs to: with another one everything would be made twice."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import select, update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.store.artifacts import ArtifactStore

_table = schema.code_versions
ROW = "artifact store"
"""Among the digests of code, which it can never be one of; so that no table is needed for it."""


@dataclass(frozen=True)
class KnownStore:
    """The store that a database was used with."""

    identity: str
    url: str
    """Where it was then, for people; it may have moved since."""
    at_home: bool
    """Whether both lay in one workspace."""


@whole_turn
def known_store(database: Database) -> KnownStore | None:
    """The store that a database belongs to, None before its first run."""
    query = select(_table.c.parts_json).where(_table.c.digest == ROW)
    with database.read() as connection:
        found = connection.scalar(query)
    return None if found is None else KnownStore(**json.loads(found))


@whole_turn
def claim_store(
    database: Database, store: ArtifactStore, at_home: bool, adopt: bool = False
) -> None:
    """Write down that a database belongs to a store, unless it belongs to one.

    Args:
        database: that is about to be written to.
        store: that its artifacts will go to.
        at_home: whether both lie in one workspace.
        adopt: forget the store that it belonged to.

    Raises:
        ConfigError: it belongs to another store.
    """
    if not adopt:
        check_store(database, store, at_home)
    identity = store.identity()
    assert identity is not None
    claim = json.dumps(asdict(KnownStore(identity, store.url, at_home)))
    row = {"digest": ROW, "parts_json": claim}
    with database.write() as connection:
        database.insert_new(connection, _table, [row], first_seen=now())
        if adopt or at_home:
            mine = update(_table).where(_table.c.digest == ROW)
            connection.execute(mine.values(parts_json=claim))
    check_store(database, store, at_home)


def check_store(database: Database, store: ArtifactStore, at_home: bool) -> None:
    """Refuse a store that a database does not belong to.

    A new store in place of one of the same workspace, which somebody removed to have its space, is
    that workspace's store.

    Raises:
        ConfigError: names both stores.
    """
    known = known_store(database)
    if known is None:
        return
    identity = store.identity(make=False)
    if identity == known.identity or (identity is None and at_home and known.at_home):
        return
    place = database.engine.url.render_as_string(hide_password=True)
    message = (
        f"the database {place} keeps its artifacts in another store than {store.url}, and with two "
        "everything would be made twice. Set THREEDRS_ARTIFACTS to the store that all who use the "
        f"database share (it was {known.url}). If that is gone for good, "
        "`workflows verify --adopt-store` makes this one its store, and what is missing in it is "
        "made again"
    )
    raise ConfigError([Fault(message)])
