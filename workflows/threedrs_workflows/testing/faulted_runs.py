"""Runs in this process that meet faults by number, so that every place is met: cheap ones.

Each is a whole run of a grid of fake steps: planned, recorded, worked on, and resumed where its
supervisor gave up.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.errors import StorageError
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.store.manifest import make_manifest
from threedrs_platform.store.open import open_store
from threedrs_platform.testing.broken_statements import BrokenStatements
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.testing.faulty_bucket import FaultyBucket
from threedrs_platform.workspace import Workspace
from threedrs_workflows.testing.disturbances import (
    FullDisk,
    JumpingClock,
    SpoilingCompute,
    SpoilingReads,
)
from threedrs_workflows.testing.engine_bench import Engine
from threedrs_workflows.testing.promises import Repeats, outcome, repeats

JOBS = 2
RESUMED = 40
"""How often a run is resumed before it counts as lost."""
EXPECTED = RunState.PARTIAL
"""How the grid ends: one of its steps fails for good."""


def grid() -> list[Cell]:
    """A shared step, results, steps that fail once and go on, and one that fails for good."""
    root = fake_step("noop", kind="root")
    cells = [
        fake_cell(
            f"good-{value}",
            {"root": root, "end": fake_step("measure", {"value": value}, r=root)},
        )
        for value in (1, 2)
    ]
    for value in (1, 2, 3):
        again = fake_step("accumulate", {"value": value}, r=root)
        end = fake_step("noop", {"of": value}, a=again, r=root)
        cells.append(fake_cell(f"again-{value}", {"root": root, "again": again, "end": end}))
    bad = fake_step("fail", r=root)
    cells.append(fake_cell("bad", {"root": root, "bad": bad, "after": fake_step("noop", b=bad)}))
    return cells


@dataclass(frozen=True)
class Place:
    """Where one run keeps its things."""

    folder: Path
    database: str = ""
    """URL; empty for the folder's own."""
    store: str = ""
    """URL; empty for the folder's own."""


@dataclass
class Met:
    """What came of one run."""

    faults: int = 0
    seen: int = 0
    """Places where there could have been one."""
    ended: int = 0
    """How often its supervisor gave up, and was sent on."""
    state: RunState | None = None
    found: dict[str, Any] = field(default_factory=dict)
    """What must not depend on faults."""
    repeated: Repeats = field(default_factory=lambda: Repeats(0, 0))


@contextlib.contextmanager
def _engine(place: Place, compute: InProcessCompute | None = None) -> Iterator[Engine]:
    with Workspace(place.folder, place.database, place.store) as workspace:
        engine = Engine(workspace, compute or InProcessCompute(JOBS))
        try:
            yield engine
        finally:
            engine.compute.close()


def _judge(engine: Engine, met: Met, with_history: bool = True) -> Met:
    met.found = outcome(engine.workspace, engine.run_id, with_history)
    met.repeated = repeats(engine.workspace)
    return met


def undisturbed(place: Place, with_history: bool = True) -> Met:
    """A run that meets nothing."""
    with _engine(place) as engine:
        return _judge(engine, Met(state=engine.submit(grid())), with_history)


def with_broken_statements(place: Place, kind: str, first: int, every: int = 0) -> Met:
    """A run under a supervisor whose statements break; see `BrokenStatements`."""
    with _engine(place) as engine:
        plan = engine.look(grid())
        broken = BrokenStatements(engine.workspace.database, kind, first, every)
        state = engine.submit_plan(plan)
        broken.stop()
        return _judge(engine, Met(broken.broken, broken.seen, state=state))


def with_spoilt_requests(
    place: Place, bucket: FaultyBucket, kinds: tuple[str, ...], first: int, every: int
) -> Met:
    """A run whose requests to the bucket are spoilt, and then another machine that reads it all;
    see `FaultyBucket.spoil`.
    """
    with _engine(place) as engine:
        plan = engine.look(grid())  # a bucket that never answers might be a wrong address
        before = sum(bucket.faults.values())
        bucket.spoil(*kinds, first=first, every=every)
        try:
            state = engine.submit_plan(plan)
            _read_elsewhere(engine, place)
        finally:
            bucket.spoil()
        faults = sum(bucket.faults.values()) - before
        return _judge(engine, Met(faults, state=state))


def _read_elsewhere(engine: Engine, place: Place) -> None:
    """Check everything out of the store into an empty cache, and hold it against its digest."""
    store = open_store(place.store, place.folder / "elsewhere")
    keys = [step.key for step in engine.look(grid()).steps]
    for row in engine.workspace.journal.rows(keys).values():
        if row.output_digest is not None:
            assert make_manifest(store.checkout(row.output_digest)).digest() == row.output_digest


def with_full_disk(place: Place, first: int, every: int = 0) -> Met:
    """A run whose disk is full now and then, for one call each time; resumed until it ends."""
    met = Met()
    with FullDisk(place.folder, first, every) as disk:
        run_id = ""
        while met.state is None and met.ended <= RESUMED:
            with _engine(place) as engine:
                engine.run_id = run_id
                try:
                    met.state = engine.resume() if run_id else engine.submit(grid())
                except StorageError:
                    met.ended += 1
                run_id = engine.run_id
        met.faults, met.seen = disk.met, disk.seen
    with _engine(place) as engine:
        engine.run_id = run_id
        return _judge(engine, met, with_history=False)


def with_jumping_clock(place: Place, chance: random.Random, every: int) -> Met:
    """A run during which the time of day jumps by up to hours."""
    with _engine(place) as engine, JumpingClock(engine.workspace.database, chance, every) as clock:
        state = engine.submit(grid())
        return _judge(engine, Met(clock.met, clock.seen, state=state))


def with_spoilt_work(place: Place, chance: random.Random) -> Met:
    """A run that finds what it left unfinished flipped, cut, empty or gone."""
    compute = SpoilingCompute(JOBS, chance)
    with _engine(place, compute) as engine:
        state = engine.submit(grid())
        return _judge(engine, Met(compute.met, state=state), with_history=False)


def with_spoilt_inputs(place: Place, chance: random.Random) -> Met:
    """A run that finds artifacts that steps read flipped, cut, empty or gone; in a bucket's cache
    they are fetched again, in a folder made again.
    """
    compute = SpoilingCompute(JOBS, chance, inputs=True)
    with _engine(place, compute) as engine:
        state = engine.submit(grid())
        met = _judge(engine, Met(compute.met, state=state), with_history=False)
        met.repeated = repeats(engine.workspace, _steps_with(engine, compute.digests))
        return met


def with_spoilt_reads(place: Place, chance: random.Random) -> Met:
    """As `with_spoilt_inputs`, but spoilt after they were checked, while steps read them."""
    with _engine(place) as engine, SpoilingReads(chance) as disk:
        state = engine.submit(grid())
        met = _judge(engine, Met(len(disk.digests), state=state), with_history=False)
        met.repeated = repeats(engine.workspace, _steps_with(engine, disk.digests))
        return met


def _steps_with(engine: Engine, digests: set[str]) -> set[str]:
    """Keys of the steps whose artifact is among some."""
    assert engine.plan is not None
    rows = engine.workspace.journal.rows([step.key for step in engine.plan.steps])
    return {key for key, row in rows.items() if row.output_digest in digests}
