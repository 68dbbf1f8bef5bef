"""Per-sample scores of a run summed by scene, read metric by metric as somebody asks for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from sqlalchemy import func, select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import RunResults, SceneTotal
from threedrs_platform.database.schema import sample_scores

Owner = tuple[str, int, str]
"""Cell id, seed, and the metric's name in that cell."""


class StoredSceneTotals(Mapping[Owner, Mapping[str, SceneTotal]]):
    """Totals of a run's cells; missing scores are not counted.

    A run has many more scores than its table shows, so a metric is summed, for all cells at once,
    when it is first asked for. Going through all keys sums everything.
    """

    def __init__(self, database: Database, results: RunResults) -> None:
        self._database = database
        self._sources: dict[Owner, tuple[str, str]] = {}
        self._steps: dict[str, set[str]] = defaultdict(set)
        for cell in results.cells:
            for name, each in cell.measurements.items():
                source = (each.step_key, each.metric.name)
                self._sources[cell.cell_id, cell.seed, name] = source
                self._steps[source[1]].add(source[0])
        self._known: dict[str, dict[str, dict[str, SceneTotal]]] = {}

    def __getitem__(self, owner: Owner) -> Mapping[str, SceneTotal]:
        step_key, metric = self._sources[owner]
        return self._by_step(metric)[step_key]

    def __contains__(self, owner: object) -> bool:
        if owner not in self._sources:
            return False
        step_key, metric = self._sources[owner]
        return step_key in self._by_step(metric)

    def __iter__(self) -> Iterator[Owner]:
        return (owner for owner in self._sources if owner in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _by_step(self, metric: str) -> dict[str, dict[str, SceneTotal]]:
        if metric not in self._known:
            self._known[metric] = self._read(metric)
        return self._known[metric]

    def _read(self, metric: str) -> dict[str, dict[str, SceneTotal]]:
        keys = (sample_scores.c.step_key, sample_scores.c.scene_id)
        total, number = func.sum(sample_scores.c.value), func.count(sample_scores.c.value)
        query = (
            select(*keys, total, number)
            .where(
                sample_scores.c.metric == metric,
                sample_scores.c.step_key.in_(sorted(self._steps[metric])),
            )
            .group_by(*keys)
            .having(number > 0)
        )
        found: dict[str, dict[str, SceneTotal]] = defaultdict(dict)
        with self._database.read() as connection:
            for step_key, scene_id, sums, count in connection.execute(query):
                found[step_key][scene_id] = SceneTotal(float(sums), int(count))
        return dict(found)
