"""Per-sample scores of one step summed by scene, as arrays: tables compare thousands of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from threedrs_platform.database.measurements import SceneTotal


class SceneSums(Mapping[str, SceneTotal]):
    """Scene -> sum and count, scenes in the order of their names.

    Args:
        scenes: C names, sorted.
        totals: [C] float64.
        counts: [C] int64.
    """

    def __init__(
        self, scenes: tuple[str, ...], totals: NDArray[np.float64], counts: NDArray[np.int64]
    ) -> None:
        self.scenes = scenes
        self.totals = totals
        self.counts = counts

    @classmethod
    def of(cls, sums: Mapping[str, SceneTotal]) -> SceneSums:
        """The same as arrays."""
        if isinstance(sums, cls):
            return sums
        scenes = tuple(sorted(sums))
        return cls(
            scenes,
            np.array([sums[scene].total for scene in scenes], dtype=np.float64),
            np.array([sums[scene].count for scene in scenes], dtype=np.int64),
        )

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Scene -> where it stands."""
        return {scene: place for place, scene in enumerate(self.scenes)}

    def __getitem__(self, scene: str) -> SceneTotal:
        place = self.places[scene]
        return SceneTotal(float(self.totals[place]), int(self.counts[place]))

    def __contains__(self, scene: object) -> bool:
        return scene in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)


def aligned(
    sums: Sequence[SceneSums],
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.int64]]:
    """Several of them over the scenes that any has, names sorted.

    Returns:
        C scenes, sums [N, C] and counts [N, C]; 0 where one has no such scene.
    """
    scenes = sums[0].scenes
    if all(each.scenes == scenes for each in sums):
        return scenes, np.stack([s.totals for s in sums]), np.stack([s.counts for s in sums])
    scenes = tuple(sorted(set[str]().union(*(each.scenes for each in sums))))
    place = {scene: index for index, scene in enumerate(scenes)}
    totals = np.zeros((len(sums), len(scenes)))
    counts = np.zeros((len(sums), len(scenes)), dtype=np.int64)
    for row, each in enumerate(sums):
        columns = [place[scene] for scene in each.scenes]
        totals[row, columns], counts[row, columns] = each.totals, each.counts
    return scenes, totals, counts
