"""The workspace: one folder with everything a project keeps, or pointers to where it is kept."""

from __future__ import annotations

import difflib
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from threedrs_platform.database.connection import Database, open_database, open_read_only
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.results import NO_RUN
from threedrs_platform.database.runs import Runs
from threedrs_platform.database.store_identity import check_store, claim_store
from threedrs_platform.database.urls import file_url, is_archived, sqlite_url
from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.storage import storage_error
from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.store.open import StoreAddress, open_store

DEFAULT_FOLDER = ".threedrs"
DATABASE = "results.db"
IN_MEMORY = "sqlite://"
CACHE_BYTES = 200_000_000_000
CACHE_VARIABLE = "THREEDRS_CACHE_GB"


@dataclass(frozen=True)
class Workspace:
    """Where things live. Nothing is opened or created before it is used."""

    root: Path
    database_url: str
    artifacts_url: str
    cache_bytes: int = 0
    """How much of a shared artifact store is kept here; 0 is `CACHE_BYTES`."""
    tracks: bool = True
    """Whether what happens is told to MLflow, now or later."""
    is_kept: bool = True
    """Whether what is not there may be made; else it is in memory, and gone with this process."""

    @cached_property
    def database(self) -> Database:
        """The database, created on first use; only read where this process may not write to it."""
        file = self.root / DATABASE
        if not (self.is_kept or self.database_url):
            return open_database(IN_MEMORY, self.tracks)
        if self.database_url or not file.exists() or _is_writable(file):
            return open_database(self.database_url or sqlite_url(file), self.tracks)
        return open_read_only(file_url(self._readable(file)))

    @property
    def absence(self) -> str:
        """That there is none here yet, and which may have been meant; empty if it is kept."""
        return "" if self.is_kept else f"there is no workspace {self.root} yet{_near(self.root)}"

    def _readable(self, file: Path) -> Path:
        """A database that is not writable, or a copy of it whose log can be read.

        A log that was left behind by a killed process counts, and without the file beside it that
        an archive may have lost SQLite cannot read it in place.
        """
        log = file.with_name(f"{file.name}-wal")
        if not log.exists() or file.with_name(f"{file.name}-shm").exists() or is_archived(file):
            return file
        copy = Path(tempfile.mkdtemp(prefix="threedrs-")) / file.name
        self.__dict__["_copied"] = copy.parent
        for each in (file, log):
            shutil.copyfile(each, copy.with_name(each.name))
        return copy

    @cached_property
    def journal(self) -> Journal:
        """The journal, seen by this process."""
        return Journal(self.database)

    @cached_property
    def runs(self) -> Runs:
        """The submissions."""
        return Runs(self.database)

    @cached_property
    def store(self) -> ArtifactStore:
        """The artifact store.

        Raises:
            ConfigError: the database belongs to another one.
        """
        store = self._open_store()
        check_store(self.database, store, self._is_home)
        return store

    def claim_store(self, adopt: bool = False) -> None:
        """Write down that the database belongs to the store; `adopt` though it had another."""
        claim_store(
            self.database, self._open_store() if adopt else self.store, self._is_home, adopt
        )

    def _open_store(self) -> ArtifactStore:
        address = self.store_address
        return open_store(address.url, Path(address.cache), cache_bytes=address.cache_bytes)

    @property
    def _is_home(self) -> bool:
        """Whether database and store both lie in this folder, so that they travel together."""
        return not self.database_url and not self.artifacts_url

    @cached_property
    def code(self) -> CodeIndex:
        """Code digests, remembered in the workspace."""
        return CodeIndex(self.code_cache if self.is_kept else None)

    @cached_property
    def files(self) -> FileDigests:
        """File digests, remembered in the workspace."""
        return FileDigests(self.root / "cache" / "files.json" if self.is_kept else None)

    @property
    def store_address(self) -> StoreAddress:
        """How a worker finds the artifact store."""
        local = str(self.root / "artifacts")
        return StoreAddress(self.artifacts_url or local, local, self.cache_bytes or CACHE_BYTES)

    @property
    def code_cache(self) -> Path:
        """What is remembered about unchanged source files."""
        return self.root / "cache" / "code.json"

    @property
    def scratch(self) -> Path:
        """Where steps have their folders for unfinished work."""
        return self.root / "scratch"

    def log(self, step_key: str) -> str:
        """The log file of a step's attempts, with `{attempt}` for the number.

        Steps share folders: one for each would cost more than the log itself.
        """
        return os.path.join(self.root, "logs", step_key[:2], f"{step_key}.{{attempt}}.log")

    def close(self) -> None:
        """Save the memos and close what was opened."""
        opened = self.__dict__
        if "code" in opened:
            self.code.save()
        if "files" in opened:
            self.files.save()
        if "database" in opened:
            self.database.close()
        if "_copied" in opened:
            shutil.rmtree(opened["_copied"], ignore_errors=True)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_off(environment: Mapping[str, str]) -> bool:
    """Whether the user wants no tracking: THREEDRS_TRACKING=off."""
    return environment.get("THREEDRS_TRACKING", "").lower() in ("off", "0", "no", "false")


def _is_writable(file: Path) -> bool:
    return os.access(file.parent, os.W_OK) and os.access(file, os.W_OK)


def find_workspace(
    folder: str | os.PathLike[str] | None = None,
    database_url: str | None = None,
    artifacts_url: str | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    with_runs: bool = False,
    looks: bool = False,
) -> Workspace:
    """The workspace that flags and environment name; by default `.threedrs` in this folder.

    Args:
        with_runs: there must be one: who only reads leaves no folder behind.
        looks: nor does who only looks: where there is none, an empty one in memory stands for it.

    Raises:
        StorageError: the place is not a folder, or below a file.
        ConfigError: THREEDRS_CACHE_GB is no positive number, or nothing has run here.
    """
    root = Path(folder or environment.get("THREEDRS_WORKSPACE") or DEFAULT_FOLDER).resolve()
    _refuse_file(root)
    database = database_url or environment.get("THREEDRS_DATABASE_URL") or ""
    if with_runs and not database and not (root / DATABASE).exists():
        raise ConfigError([Fault(f"{NO_RUN}; {root} is no workspace{_near(root)}")])
    is_there = root.is_dir() if database else (root / DATABASE).exists()
    return Workspace(
        root,
        database,
        artifacts_url or environment.get("THREEDRS_ARTIFACTS") or "",
        _cache_bytes(environment.get(CACHE_VARIABLE, "")),
        not is_off(environment),
        is_there or not looks,
    )


def _refuse_file(root: Path) -> None:
    """Refuse a place that is a file, or that could only be below one."""
    try:
        there = next(place for place in (root, *root.parents) if place.exists())
    except OSError as error:  # too long a name, a disk that fails
        told = storage_error(error, f"look for the workspace {root}")
        raise told or StorageError(f"cannot look for the workspace {root}: {error}") from error
    if not there.is_dir():
        what = "is" if there == root else f"cannot be: {there} is"
        message = f"the workspace {root} {what} not a folder; choose another --workspace"
        raise StorageError(message)


def _near(root: Path) -> str:
    """Workspaces that may have been meant: in a folder, or beside one that is spelled alike."""
    found = [each for each in (root / DEFAULT_FOLDER,) if (each / DATABASE).exists()]
    if not found:
        beside = sorted(root.parent.glob("*")) if root.parent.is_dir() else []
        known = {each.name: each for each in beside if (each / DATABASE).exists()}
        names = difflib.get_close_matches(root.name, known, n=1, cutoff=0.6)
        found = [known[name] for name in names]
    return f"; did you mean {found[0]}?" if found else ""


def _cache_bytes(gigabytes: str) -> int:
    try:
        size = float(gigabytes or 0)
    except ValueError:
        size = math.nan
    if not 0 <= size < math.inf or (gigabytes and size == 0):
        message = f"{CACHE_VARIABLE}={gigabytes!r} is no size; write a number of gigabytes, e.g. 50"
        raise ConfigError([Fault(message)])
    return int(size * 1e9)
