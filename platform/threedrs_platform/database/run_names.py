"""What people call a run: its id, a unique beginning of it, its grid's name, or "last"."""

from __future__ import annotations

from sqlalchemy import select

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import runs
from threedrs_platform.errors import ConfigError, Fault

LAST = "last"
MOST_NAMED = 5


def find_run_id(database: Database, wanted: str | None = None) -> str:
    """The id of the run that is meant; of a grid's runs, its newest.

    Args:
        wanted: None is the newest run of all, like "last".

    Raises:
        ConfigError: there is no such run, or the beginning fits several.
    """
    query = select(runs.c.id, runs.c.name).order_by(runs.c.created_at.desc(), runs.c.id.desc())
    with database.read() as connection:
        known: list[tuple[str, str]] = [(row.id, row.name) for row in connection.execute(query)]
    if not known:
        raise ConfigError([Fault("there is no run yet; start one with `workflows submit`")])
    if wanted is None or wanted == LAST:
        return known[0][0]
    exact = [run_id for run_id, name in known if wanted in (run_id, name)]
    near = exact or [run_id for run_id, _ in known if run_id.startswith(wanted)]
    if not near:
        hint = did_you_mean(wanted, {each for run in known for each in run})
        hint = hint or "; `workflows status --list` lists the runs"
        raise ConfigError([Fault(f"no run is called {wanted!r}{hint}")])
    if len(near) > 1 and not exact:
        fits = ", ".join(near[:MOST_NAMED])
        raise ConfigError([Fault(f"{wanted!r} fits several runs: {fits}; give more of the id")])
    return near[0]
