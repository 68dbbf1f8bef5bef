"""Per-sample scores summed by scene: made once, with the scores, as no score changes later."""

from __future__ import annotations

import json
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, func, inspect, select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import RunResults, SceneTotal
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.schema import sample_scores, score_sums
from threedrs_platform.database.turns import whole_turn

if TYPE_CHECKING:
    from threedrs_platform.database.scene_sums import SceneSums

MOST_KEYS = 10_000
"""Steps that one query asks for: databases take so many parameters and not many more."""
_NUMBER = func.count(sample_scores.c.value)
SUMS = (
    select(
        sample_scores.c.metric, sample_scores.c.scene_id, func.sum(sample_scores.c.value), _NUMBER
    )
    .where(sample_scores.c.step_key == bindparam("step"))
    .group_by(sample_scores.c.metric, sample_scores.c.scene_id)
    .having(_NUMBER > 0)
    .order_by(sample_scores.c.metric, sample_scores.c.scene_id)
)
"""Metric, scene, sum and number of the scores of one step."""
_SUMS = Prepared(SUMS)
_KEPT = select(
    score_sums.c.step_key, score_sums.c.scenes, score_sums.c.totals, score_sums.c.counts
).where(
    score_sums.c.metric == bindparam("metric"),
    score_sums.c.step_key.in_(bindparam("keys", expanding=True)),
)
_SCORED = (
    select(sample_scores.c.step_key)
    .where(
        sample_scores.c.metric == bindparam("metric"),
        sample_scores.c.step_key.in_(bindparam("keys", expanding=True)),
    )
    .distinct()
)
"""Those of the steps that have scores of a metric."""
_INSERT = Prepared(score_sums.insert(), [column.name for column in score_sums.c])


def write_sums(connection: Connection, step_key: str) -> None:
    """Sum what a step has scored, inside the transaction that stores the scores."""
    _INSERT.run_many(connection, _summed(connection, step_key))


def _summed(connection: Connection, step_key: str) -> list[dict[str, Any]]:
    """Rows of a step, one for each metric."""
    rows = _SUMS.run(connection, {"step": step_key}).all()
    return [
        # Databases order names in ways of their own.
        {"step_key": step_key, "metric": metric, **_packed(sorted(tuple(row[1:]) for row in of))}
        for metric, of in groupby(rows, itemgetter(0))
    ]


def _packed(sums: list[tuple[str, float, int]]) -> dict[str, Any]:
    """Scene, sum and count as columns of one row."""
    scenes, totals, counts = zip(*sums, strict=True)
    return {
        "scenes": json.dumps(scenes),
        "totals": struct.pack(f"<{len(totals)}d", *totals),
        "counts": struct.pack(f"<{len(counts)}q", *counts),
    }


Kept = tuple[str, str, bytes, bytes]
CellMetric = tuple[str, int, str]
"""Cell id, seed, and the metric's name in that cell."""


class StoredSceneTotals(Mapping[CellMetric, Mapping[str, SceneTotal]]):
    """Totals of a run's cells; missing scores are not counted.

    A run measures more than its table shows, so a metric is read, for all cells at once, when it
    is first asked for. Going through all keys reads everything.
    """

    def __init__(self, database: Database, results: RunResults) -> None:
        self._database = database
        self._sources: dict[CellMetric, tuple[str, str]] = {}
        self._steps: dict[str, set[str]] = defaultdict(set)
        for cell in results.cells:
            for name, each in cell.measurements.items():
                source = (each.step_key, each.metric.name)
                self._sources[cell.cell_id, cell.seed, name] = source
                self._steps[source[1]].add(source[0])
        self._known: dict[str, Mapping[str, SceneSums]] = {}

    def __getitem__(self, wanted: CellMetric) -> Mapping[str, SceneTotal]:
        step_key, metric = self._sources[wanted]
        return self._by_step(metric)[step_key]

    def __contains__(self, wanted: object) -> bool:
        if wanted not in self._sources:
            return False
        step_key, metric = self._sources[wanted]
        return step_key in self._by_step(metric)

    def __iter__(self) -> Iterator[CellMetric]:
        return (known for known in self._sources if known in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _by_step(self, metric: str) -> Mapping[str, SceneSums]:
        if metric not in self._known:
            self._known[metric] = scene_sums(self._database, self._steps[metric], metric)
        return self._known[metric]


@whole_turn
def scene_sums(database: Database, step_keys: Collection[str], metric: str) -> dict[str, SceneSums]:
    """A metric's scores by step, summed by scene; a step without scores is absent."""
    import numpy as np

    from threedrs_platform.database.scene_sums import SceneSums

    found: dict[str, SceneSums] = {}
    known: dict[str, tuple[str, ...]] = {}
    with database.read() as connection:
        for step_key, scenes, totals, counts in _kept(connection, sorted(step_keys), metric):
            if scenes not in known:
                known[scenes] = tuple(json.loads(scenes))
            sums = np.frombuffer(totals, "<f8"), np.frombuffer(counts, "<i8")
            found[step_key] = SceneSums(known[scenes], *sums)
    return found


def _kept(connection: Connection, keys: Sequence[str], metric: str) -> Iterator[Kept]:
    """Step, scenes, totals and counts of those that have any."""
    # An archive of older tables keeps no sums.
    keeps_sums = inspect(connection).has_table(score_sums.name)
    for first in range(0, len(keys), MOST_KEYS):
        missing = dict.fromkeys(keys[first : first + MOST_KEYS])
        if keeps_sums:
            for row in connection.execute(_KEPT, {"metric": metric, "keys": [*missing]}):
                del missing[row.step_key]
                yield row.step_key, row.scenes, row.totals, row.counts
        if missing:
            yield from _made_now(connection, [*missing], metric)


def _made_now(connection: Connection, keys: Sequence[str], metric: str) -> Iterator[Kept]:
    """Sums of scores that came without: a process of an older program stored them."""
    scored = connection.scalars(_SCORED, {"metric": metric, "keys": [*keys]}).all()
    for key in scored:
        for row in _summed(connection, key):
            if row["metric"] == metric:
                yield key, row["scenes"], row["totals"], row["counts"]
