"""What pages read: the results of a workspace, through a database that cannot be written to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator

from starlette.requests import Request

from threedrs_components.report.comparison import Family
from threedrs_components.report.document import run_family
from threedrs_platform.database.connection import Database, open_read_only
from threedrs_platform.database.grid_choice import GridChoice
from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.database.results import Results
from threedrs_platform.database.runs import Runs
from threedrs_platform.database.urls import file_url
from threedrs_platform.errors import StorageError
from threedrs_platform.states import RunState
from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.workspace import Workspace

KEPT_FAMILIES = 8
LIVE_S = 3
"""Seconds between two looks at a run that is going on."""


class NoRunYet(StorageError):
    """Nothing has been submitted in a workspace: there is a welcome to show, and no fault."""


class Store:
    """A workspace as pages see it. The database is opened when it is first asked for."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._families: dict[tuple[str, str | None, Hashable], Family] = {}

    @property
    def database(self) -> Database:
        """The database, read-only.

        Raises:
            NoRunYet: there is none yet.
            StorageError: it is out of reach.
        """
        with self._opening:
            if self._database is None:
                self._database = open_read_only(self.workspace.database_url or self._local_url())
            return self._database

    def _local_url(self) -> str:
        file = self.workspace.root / "results.db"
        if not file.exists():
            raise NoRunYet(
                f"no run has been submitted in {self.workspace.root} yet: "
                "`workflows submit` starts one, --workspace names another folder"
            )
        return file_url(file)

    @property
    def results(self) -> Results:
        """Runs, cells and their numbers."""
        return Results(self.database)

    @property
    def artifacts(self) -> ArtifactStore:
        """The artifact store; pages take files out of it by digest only."""
        return self.workspace.store

    def run(self, wanted: str | None) -> RunSummary:
        """The run that a page is asked for; None means the newest.

        Raises:
            NoRunYet: there is none at all.
            ConfigError: there is no such run.
        """
        if not wanted and not self.results.run_summaries():
            raise NoRunYet("no run has been submitted yet: `workflows submit` starts one")
        return self.results.find_run(wanted or None)

    def refresh_s(self, run_id: str) -> int:
        """Seconds between two looks at a run that somebody works on; 0 where nothing changes."""
        run = Runs(self.database).get(run_id)
        return LIVE_S if run.state is RunState.RUNNING and run.has_live_owner else 0

    def family(self, run_id: str, choice: GridChoice, baseline: str | None) -> Family:
        """The tests of a run against a cell, kept until more is measured or another cell ends."""
        key = (run_id, baseline, self.results.state_of_numbers(run_id))
        found = self._families.get(key)
        if found is None:
            results = self.results.run_results(run_id)
            totals = self.results.scene_totals(results)
            found = run_family(results, totals, choice.metrics, baseline)
            with self._opening:
                while len(self._families) >= KEPT_FAMILIES:
                    self._families.pop(next(iter(self._families)))
                self._families[key] = found
        return found

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Within it this thread waits at most so long for databases that are open."""
        opened = (self._database, vars(self.workspace).get("database"))
        with contextlib.ExitStack() as stack:
            for database in opened:
                if database is not None:
                    stack.enter_context(database.patience(seconds))
            yield

    def close(self) -> None:
        """Close what was opened."""
        if self._database is not None:
            self._database.close()
        self.workspace.close()


def store_of(request: Request) -> Store:
    """The store of the application that serves a request."""
    store = request.app.state.store
    assert isinstance(store, Store)
    return store
