"""Means of scenes over seeds, on which scenes of a higher and a lower score are compared."""

from __future__ import annotations

import pytest

from threedrs_components.report.quartiles import scene_means
from threedrs_platform.database.measurements import SceneTotal


def test_a_scene_counts_by_its_samples_and_only_where_every_seed_has_it() -> None:
    first = {"hall": SceneTotal(3.0, 2), "attic": SceneTotal(9.0, 3)}
    second = {"hall": SceneTotal(5.0, 6), "cellar": SceneTotal(1.0, 1)}
    assert scene_means([first, second]) == pytest.approx({"hall": 1.0})
    assert scene_means([first]) == pytest.approx({"hall": 1.5, "attic": 3.0})
    assert scene_means([]) == {}
