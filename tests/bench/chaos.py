"""Faults of every kind while runs go on: what was lost, what done twice, what came out different.

    nice -n 10 python tests/bench/chaos.py [--numbered 40] [--processes 20] [--per-run 5]
        [--database sqlite,postgresql] [--store folder,s3] [--ray none,local,nodes] [--only kill]
        [--seed 0] [--json]

Every world (database, store and Ray) meets two sorts of faults. Numbered ones happen in this
process, at the n-th statement, request, call or attempt of a run, so that every place is met; they
are cheap, and need `--ray none`. The others happen to processes and servers at random moments:
killed and stopped supervisors and steps, full disks, restarted servers, lost raylets. PostgreSQL,
a bucket and a Ray of two nodes are started here and stopped again.

The promise: every run can be brought to its end, no step is committed twice, nothing finished is
done again unless its artifact was damaged, and the results are those of a run without faults.
Exit 1 if it is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from threedrs_platform.testing.broken_statements import STATEMENT_FAULTS
from threedrs_platform.testing.faulty_bucket import FAULTS
from threedrs_workflows.testing import faulted_runs as numbered
from threedrs_workflows.testing.chaos_arena import Arena, Place, Tally, open_place
from threedrs_workflows.testing.disturbances import hurried
from threedrs_workflows.testing.faulted_runs import Met
from threedrs_workflows.testing.process_faults import Fault, faults_at, fill_disk, small_disk

APART = {"statement": 37, "answer": 5, "request": 7, "disk": 101, "clock": 11}
"""Places between two faults of one run; of statements more than a turn has."""
DATABASES, STORES, RAYS = ("sqlite", "postgresql"), ("folder", "s3"), ("none", "local", "nodes")
Disturbed = Callable[[numbered.Place, int], Met]
"""A run that meets faults; the number says which."""


@dataclass
class World:
    """Where runs are tried, and what came of them."""

    database: str
    store: str
    ray: str
    numbered: dict[str, Tally] = field(default_factory=dict)
    processes: dict[str, Tally] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.database}, {self.store}, --ray {self.ray}"


class Bench:
    """One call of this command."""

    def __init__(self, args: argparse.Namespace, root: Path) -> None:
        self._args, self._root = args, root
        self._chance, self._numbers = random.Random(args.seed), itertools.count()

    def work(self, world: World) -> None:
        """Try everything in one world."""
        try:
            with open_place(world.database, world.store, world.ray) as place:
                self._try(world, place)
        except Exception:  # of its servers; what happens to runs is caught before
            tally = world.processes["servers"] = Tally(lost=1, notes=[traceback.format_exc()])
            self._say(world, "servers", tally)

    def _try(self, world: World, place: Place) -> None:
        if world.ray == "none" and self._args.numbered:
            self._numbered(world, place)
        if self._args.processes:
            self._processes(world, place)

    def _wants(self, name: str) -> bool:
        return not self._args.only or name in self._args.only.split(",")

    def _folder(self, name: str) -> Path:
        folder = self._root / f"{next(self._numbers)}-{name.replace(' ', '-').replace('/', '-')}"
        folder.mkdir()
        return folder

    def _numbered(self, world: World, place: Place) -> None:
        families = {name: do for name, do in _families(place).items() if self._wants(name)}
        with hurried():
            expected = numbered.undisturbed(self._fresh(place, "undisturbed"))
            for name, disturbed in families.items():
                tally = world.numbered[name] = Tally()
                for number in range(1, self._args.numbered + 1):
                    if tally.faults >= self._args.numbered:
                        break
                    self._one_numbered(place, name, disturbed, number, expected, tally)
                self._say(world, name, tally)

    def _fresh(self, place: Place, name: str) -> numbered.Place:
        folder = self._folder(name)
        return numbered.Place(folder, place.database(), place.store(folder.name))

    def _one_numbered(
        self,
        place: Place,
        name: str,
        disturbed: Disturbed,
        number: int,
        expected: Met,
        tally: Tally,
    ) -> None:
        at = self._fresh(place, name)
        tally.runs += 1
        try:
            met = disturbed(at, number)
        except Exception:
            tally.lost += 1
            tally.notes.append(f"{at.folder}:\n{traceback.format_exc()[-3000:]}")
            return
        wrong = {key for key in met.found if met.found[key] != expected.found[key]}
        tally.faults += met.faults
        tally.ended += met.ended
        tally.lost += met.state is not numbered.EXPECTED
        tally.twice += met.repeated.committed
        tally.redone += met.repeated.redone
        tally.differing += bool(wrong)
        if wrong:
            tally.notes.append(f"{at.folder}, number {number}: {sorted(wrong)} differ")
        else:
            shutil.rmtree(at.folder, ignore_errors=True)

    def _processes(self, world: World, place: Place) -> None:
        faults = [fault for fault in faults_at(place) if self._wants(fault.__name__)]
        while faults and sum(t.faults for t in world.processes.values()) < self._args.processes:
            fault = faults[world_turn(world) % len(faults)]
            tally = world.processes.setdefault(fault.__name__, Tally())
            self._one_run(place, fault, tally)
            self._say(world, fault.__name__, tally)

    def _one_run(self, place: Place, fault: Fault, tally: Tally) -> None:
        """A run from its submission to its judgement."""
        folder = self._folder(fault.__name__)
        disk = small_disk(folder) if fault is fill_disk else contextlib.nullcontext()
        with disk:
            arena = Arena(folder, place, self._chance, folder.name)
            tally.runs += 1
            try:
                self._meet(arena, fault, tally)
            except Exception:
                tally.lost += 1
                tally.notes.append(f"{folder}:\n{traceback.format_exc()[-3000:]}")
            finally:
                tally.ended += arena.ended
                arena.stop()
        if tally.is_kept:
            shutil.rmtree(folder, ignore_errors=True)

    def _meet(self, arena: Arena, fault: Fault, tally: Tally) -> None:
        arena.start("submit")
        for _ in range(self._args.per_run):
            if not arena.wait_for_work():
                break
            fault(arena)
            tally.faults += 1
        if arena.place.bucket:
            arena.place.bucket.refusal_rate = 0.0
            arena.place.bucket.spoil()
        if arena.finish():
            arena.judge(tally)
        else:
            tally.lost += 1
            tally.notes.append(arena.output.read_text(errors="replace")[-2000:])

    def _say(self, world: World, name: str, tally: Tally) -> None:
        print(f"{world.title}: {name} {_row(tally)}", file=sys.stderr, flush=True)
        for note in tally.notes:
            print(note, file=sys.stderr, flush=True)
        tally.notes.clear()


def world_turn(world: World) -> int:
    """How many runs with process faults a world has had; each kind comes in turn."""
    return sum(tally.runs for tally in world.processes.values())


def _families(place: Place) -> dict[str, Disturbed]:
    """Numbered faults that there are at a place."""
    found: dict[str, Disturbed] = {}
    for kind in STATEMENT_FAULTS["postgresql" if place.postgres else "sqlite"]:
        found[f"statement: {kind}"] = _statements(kind)
    for kind in FAULTS if place.bucket else ():
        found[f"request: {kind}"] = _requests(place, kind)
    found["full disk"] = lambda at, n: numbered.with_full_disk(at, n, APART["disk"])
    found["spoilt work"] = lambda at, n: numbered.with_spoilt_work(at, random.Random(n))
    found["spoilt input"] = lambda at, n: numbered.with_spoilt_inputs(at, random.Random(n))
    found["spoilt reading"] = lambda at, n: numbered.with_spoilt_reads(at, random.Random(n))
    found["clock"] = lambda at, n: numbered.with_jumping_clock(at, random.Random(n), APART["clock"])
    return found


def _statements(kind: str) -> Disturbed:
    return lambda at, n: numbered.with_broken_statements(
        at, kind, n, APART.get(kind, APART["statement"])
    )


def _requests(place: Place, kind: str) -> Disturbed:
    bucket = place.bucket
    assert bucket is not None
    return lambda at, n: numbered.with_spoilt_requests(at, bucket, (kind,), n, APART["request"])


def _worlds(args: argparse.Namespace) -> Iterator[World]:
    chosen = itertools.product(*(each.split(",") for each in (args.ray, args.database, args.store)))
    for ray, database, store in chosen:
        yield World(database, store, ray)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--numbered", type=int, default=40, help="of each family in each world (default: 40)"
    )
    parser.add_argument(
        "--processes", type=int, default=20, help="in each world, about (default: 20)"
    )
    parser.add_argument(
        "--per-run", type=int, default=5, help="faults of processes that a run meets (default: 5)"
    )
    parser.add_argument("--database", default=",".join(DATABASES))
    parser.add_argument("--store", default=",".join(STORES))
    parser.add_argument("--ray", default=",".join(RAYS))
    parser.add_argument("--only", default="", help="names of faults, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["THREEDRS_TRACKING"] = "off"
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    bench, worlds = Bench(args, root), list(_worlds(args))
    for world in worlds:
        bench.work(world)
    return _tell(args, worlds, root)


HEAD = f"{'fault':30} {'faults':>6} {'runs':>5} {'ended':>6} {'lost':>5} {'twice':>6} {'redone':>7}"


def _row(tally: Tally) -> str:
    equal = f"{tally.differing} NOT" if tally.differing else "yes"
    return (
        f"{tally.faults:6} {tally.runs:5} {tally.ended:6} {tally.lost:5} "
        f"{tally.twice:6} {tally.redone:7} {equal:>6}"
    )


def _tell(args: argparse.Namespace, worlds: list[World], root: Path) -> int:
    sorts = {"numbered": [w.numbered for w in worlds], "process": [w.processes for w in worlds]}
    counts = {
        sort: sum(tally.faults for tallies in found for tally in tallies.values())
        for sort, found in sorts.items()
    }
    if args.json:
        rows = [
            {
                "database": world.database,
                "store": world.store,
                "ray": world.ray,
                "numbered": {name: vars(tally) for name, tally in world.numbered.items()},
                "processes": {name: vars(tally) for name, tally in world.processes.items()},
            }
            for world in worlds
        ]
        content = {"schema": "bench.chaos/2", "seed": args.seed, "faults": counts, "worlds": rows}
        print(json.dumps(content))
    else:
        for world in worlds:
            print(f"\n{world.title}\n{HEAD}  equal")
            for name, tally in {**world.numbered, **world.processes}.items():
                print(f"{name:30} {_row(tally)}")
        told = ", ".join(f"{count} {sort} faults" for sort, count in counts.items())
        print(f"\n{told}, seed {args.seed}")
    tallies = [tally for found in sorts.values() for tallies in found for tally in tallies.values()]
    if all(tally.is_kept for tally in tallies):
        shutil.rmtree(root, ignore_errors=True)
        return 0
    print(f"broken promises; what is left lies in {root}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
