"""What an engine keeps, spoilt: its journal, artifacts, unfinished work; and its rules of retries.

Each method takes one input from `draw`, says whether what was spoilt was still taken, and raises
`Wrong` where it was taken for what it is not.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from threedrs_platform.database.events import read_events
from threedrs_platform.errors import ArtifactError
from threedrs_platform.sealed import keep_sound, write_sealed
from threedrs_platform.states import FailureClass, RunState
from threedrs_platform.steps import StepSpec
from threedrs_platform.store.local import LocalStore
from threedrs_platform.testing.fake_cells import fans
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.retries import RETRIES, Retry, RetryPolicy
from threedrs_workflows.testing.disturbances import spoil_file
from threedrs_workflows.testing.engine_bench import Engine

Spoil = Callable[[str, random.Random], str]
FILES = {"numbers.txt": "0.25\n" * 40, "more/words.json": json.dumps({"answer": [1, 2, 3]})}
SCENES, WORKERS = 16, 2
"""Per optimizer step, and processes that share them."""


class Wrong(Exception):
    """Something was read as what it is not."""


class SpoiledJournal:
    """A finished run in a database whose texts are damaged one at a time."""

    def __init__(self, folder: Path, spoil: Spoil) -> None:
        """Run it.

        Args:
            folder: for its workspace.
            spoil: edits a text.
        """
        self._workspace, self._spoil = Workspace(folder, "", "", tracks=False), spoil
        engine = Engine(self._workspace)
        assert engine.submit(fans(2, ledger=str(folder / "ledger"))) is RunState.SUCCEEDED
        self._run = engine.run_id
        self._file = sqlite3.connect(folder / "results.db", isolation_level=None)
        read = self._workspace
        self._readers: dict[tuple[str, str], Callable[[], list[Mapping[str, Any]]]] = {
            ("events", "payload_json"): self._events,
            ("runs", "options_json"): lambda: [read.runs.get(self._run).options],
            ("cells", "params_json"): lambda: [c.params for c in read.runs.cells(self._run)],
            ("steps", "recipe_json"): self._recipes,
            ("steps", "spec_json"): lambda: [c.params for c in read.runs.cells(self._run)],
        }

    def attempt(self, draw: random.Random) -> bool:
        """Damage one text, and read it."""
        table, column = draw.choice(list(self._readers))
        rows = self._file.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
        row, text = draw.choice(rows)
        spoilt = self._spoil(text, draw).encode("utf-8", "replace").decode()
        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
        self._file.execute(change, (spoilt, row))
        try:
            found = self._readers[table, column]()
        finally:
            self._file.execute(change, (text, row))
        if column != "spec_json" and json.loads(spoilt) not in found:
            raise Wrong(f"{table}.{column}: {spoilt} was read as {found}")
        return True

    def _events(self) -> list[Mapping[str, Any]]:
        return [event.payload for event in read_events(self._workspace.database, self._run)]

    def _recipes(self) -> list[Mapping[str, Any]]:
        keys = [row[0] for row in self._file.execute("SELECT key FROM steps")]
        return list(self._workspace.journal.recipes_of(keys).values())


class SpoiledArtifact:
    """An artifact one of whose files is damaged, or what vouches for them."""

    def __init__(self, folder: Path) -> None:
        source = folder / "source"
        for name, content in FILES.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(content)
        self._root = folder / "store"
        self._digest = LocalStore(self._root).publish(source).digest
        self._kept = shutil.copytree(self._root, folder / "kept")

    def attempt(self, draw: random.Random) -> bool:
        """Damage some file of the store, and check the artifact out."""
        store = LocalStore(self._root)
        files = sorted(path for path in self._root.rglob("*") if path.is_file())
        for path in draw.sample(files, draw.choice((1, 1, 2))):
            spoil_file(path, draw)
        try:
            folder = store.checkout(self._digest)
            found = {
                path.relative_to(folder).as_posix(): path.read_text()
                for path in folder.rglob("*")
                if path.is_file()
            }
        except ArtifactError:
            return False
        finally:
            shutil.rmtree(self._root)
            shutil.copytree(self._kept, self._root)
        if found != FILES:
            raise Wrong(f"a damaged artifact was handed out: {found}")
        return True


class SpoiledWork:
    """A checkpoint that is damaged, or its seal."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._file = folder / "state"
        write_sealed(self._file, lambda path: path.write_text(FILES["numbers.txt"]))
        self._kept = {path: path.read_bytes() for path in folder.iterdir()}

    def attempt(self, draw: random.Random) -> bool:
        """Damage one of them or both, and look whether it may be gone on from."""
        for path in draw.sample(sorted(self._kept), draw.choice((1, 1, 2))):
            spoil_file(path, draw)
        told: list[str] = []
        try:
            taken = keep_sound(self._file, told.append)
            if taken and self._file.read_text() != FILES["numbers.txt"]:
                raise Wrong("a damaged checkpoint was gone on from")
            if not taken and self._file.exists():
                raise Wrong("a damaged checkpoint was left")
        finally:
            for path, content in self._kept.items():
                path.write_bytes(content)
        return taken


def attempt_retries(draw: random.Random) -> bool:
    """Failures of some steps in turns that may be lost, against plain counts of them."""
    policy, kinds = RetryPolicy(backoff_s=1.0), list(FailureClass)
    spec = StepSpec("finetune", "none:none", {"training": {"scenes_per_step": SCENES}})
    rounds: dict[str, int] = {"a": 1, "b": 1}
    counts, kept = Counter[tuple[str, FailureClass]](), Counter[tuple[str, FailureClass]]()
    kept_rounds, again = dict(rounds), False
    policy.mark()
    for _ in range(draw.randint(1, 12)):
        what = draw.random()
        if what < 0.2:
            policy.mark()
            kept, kept_rounds = counts.copy(), dict(rounds)
        elif what < 0.4:
            policy.roll_back()
            counts, rounds = kept.copy(), dict(kept_rounds)
        else:
            key, failure = draw.choice(("a", "b")), draw.choice(kinds)
            settings = {"training": {"gradient_accumulation": rounds[key], "workers": WORKERS}}
            retry = policy.decide(spec, key, failure, settings)
            _check_retry(retry, counts[key, failure], failure, rounds[key])
            if retry is not None:
                counts[key, failure] += 1
                rounds[key] = retry.settings["training"]["gradient_accumulation"]
                again = True
    return again


def _check_retry(retry: Retry | None, used: int, failure: FailureClass, rounds: int) -> None:
    if (retry is not None) != (used < RETRIES[failure]):
        raise Wrong(f"after {used} tries that ended by {failure}: {retry}")
    if retry is None:
        return
    can_halve = SCENES % (2 * rounds * WORKERS) == 0
    expected = 2 * rounds if failure is FailureClass.OOM and can_halve else rounds
    if retry.settings["training"]["gradient_accumulation"] != expected:
        raise Wrong(f"{failure} with {rounds} rounds: {retry}")
    if failure is FailureClass.INFRA and retry.delay_s != 2.0**used:
        raise Wrong(f"waits {retry.delay_s} s before try {used + 1}")
