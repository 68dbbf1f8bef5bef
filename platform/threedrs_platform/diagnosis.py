"""Is everything here that a run needs? Each check says what is wrong and what would help."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from threedrs_platform.database.lineage import newest_artifacts
from threedrs_platform.database.outbox import count_open, why_open
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import RunState
from threedrs_platform.storage import place_errors
from threedrs_platform.store.artifacts import Health
from threedrs_platform.store.local import LocalStore
from threedrs_platform.workspace import Workspace

LOW_DISK_BYTES = 2 << 30
NEWEST = 20
"""How many artifacts that ought to be there are looked for."""
PACKAGES = ("torch", "transformers", "ray", "mlflow", "sqlalchemy", "pyarrow", "pydantic")


class Verdict(StrEnum):
    """Outcome of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    verdict: Verdict
    message: str


def diagnose(workspace: Workspace, ray: str) -> Iterator[Finding]:
    """Run all checks; none of them starts Ray or imports torch."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "packages": _packages,
        "workspace": lambda: _workspace(workspace),
        "disk": lambda: _disk(workspace.root),
        "database": lambda: _database(workspace),
        "artifacts": lambda: _artifacts(workspace),
        "runs": lambda: _runs(workspace),
        "tracking": lambda: _tracking(workspace),
        "ray": lambda: _ray(workspace, ray),
    }
    for name, check in checks.items():
        try:
            yield check()
        except ThreedrsError as error:
            yield Finding(name, Verdict.FAILED, str(error))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", Verdict.OK, f"{version} with {os.cpu_count()} CPUs")


def _packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        message = f"not installed: {', '.join(missing)}; run `pip install -e .`"
        return Finding("packages", Verdict.FAILED, message)
    return Finding("packages", Verdict.OK, ", ".join(found))


def _workspace(workspace: Workspace) -> Finding:
    root = workspace.root
    made = [place for place in (root, *root.parents) if not place.exists()]
    try:
        with place_errors(f"write to the workspace {root}"):
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".probe-{os.getpid()}"
            probe.write_bytes(b"probe")
            probe.unlink()
    finally:  # who asks how things are leaves nothing behind
        with contextlib.suppress(OSError):  # somebody else has begun to use it
            for folder in made:
                folder.rmdir()
    if missing := workspace.absence:
        message = f"{missing}; it can be made, and a submission does so"
        return Finding("workspace", Verdict.WARNING, message)
    return Finding("workspace", Verdict.OK, f"{root} is writable")


def _disk(root: Path) -> Finding:
    there = next(each for each in (root, *root.resolve().parents) if each.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LOW_DISK_BYTES:
        return Finding("disk", Verdict.WARNING, f"{text}; `workflows gc` shows what could go")
    return Finding("disk", Verdict.OK, text)


def _database(workspace: Workspace) -> Finding:
    if not (workspace.is_kept or workspace.database_url):
        return Finding("database", Verdict.OK, "none yet")
    place = workspace.database.place
    if (
        not workspace.database.is_sqlite
        and workspace.store_address.url == workspace.store_address.cache
    ):
        message = f"{place}; but artifacts are in this workspace: set THREEDRS_ARTIFACTS"
        return Finding("database", Verdict.WARNING, message)
    return Finding("database", Verdict.OK, place)


def _artifacts(workspace: Workspace) -> Finding:
    store = workspace.store
    place = without_secrets(store.url)
    count = sum(1 for _ in store.digests())
    message = f"{count} artifacts in {place}"
    newest = newest_artifacts(workspace.database, NEWEST)
    if newest and all(store.stat_check(digest) is Health.MISSING for digest in newest):
        message += f"; none of the last {len(newest)} that runs have made: is the store mounted?"
        return Finding("artifacts", Verdict.WARNING if count else Verdict.FAILED, message)
    quarantine = workspace.root / "artifacts" / "quarantine"
    if isinstance(store, LocalStore) and quarantine.exists() and any(quarantine.iterdir()):
        message += f"; damaged ones in {quarantine}"
        return Finding("artifacts", Verdict.WARNING, message)
    return Finding("artifacts", Verdict.OK, message)


def _runs(workspace: Workspace) -> Finding:
    stale = [
        run.id
        for run in workspace.runs.recent(100)
        if run.state is RunState.RUNNING and not run.has_live_owner
    ]
    if stale:
        message = f"their process is gone: {', '.join(stale)}; `workflows resume RUN` goes on"
        return Finding("runs", Verdict.WARNING, message)
    return Finding("runs", Verdict.OK, "none is abandoned")


def _tracking(workspace: Workspace) -> Finding:
    left, cause = count_open(workspace.database), why_open(workspace.database)
    if cause:
        message = f"{left} messages wait for MLflow; {cause}; `workflows resume` tries again"
        return Finding("tracking", Verdict.WARNING, message)
    if left and not any(run.has_live_owner for run in workspace.runs.recent(100)):
        message = f"{left} messages wait for MLflow and no run is there to deliver them; "
        message += "`workflows resume` does"
        return Finding("tracking", Verdict.WARNING, message)
    return Finding("tracking", Verdict.OK, f"{left} messages wait for MLflow")


def _ray(workspace: Workspace, ray: str) -> Finding:
    is_shared = workspace.store_address.url.startswith("s3://")
    if ray not in ("local", "none") and not is_shared:
        place = without_secrets(workspace.store_address.url)
        message = (
            f"{ray}: its nodes must see {place} under the same path; "
            "set THREEDRS_ARTIFACTS to s3://bucket/prefix otherwise"
        )
        return Finding("ray", Verdict.WARNING, message)
    return Finding("ray", Verdict.OK, ray)
