"""Statistics of stored features: equal to those of all tokens at once, read where they fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threedrs_platform.errors import DataError
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.feature_statistics import (
    STATISTICS,
    feature_statistics,
    read_statistics,
    statistics_of,
    write_statistics,
)
from threedrs_platform.store.features import (
    FeatureFolder,
    FeatureHeader,
    check_one_extraction,
    feature_path,
    write_features,
)

HEADER = FeatureHeader("vggt", "ab" * 32, "CC0", "width 518", 23, "block 23")
SCENES = ("attic", "hall", "kitchen")


def folder(root: Path, headers: tuple[FeatureHeader, ...] = (HEADER,) * 3) -> FeatureFolder:
    random = np.random.default_rng(0)
    for scene_id, header in zip(SCENES, headers, strict=True):
        values = (5 + 3 * random.normal(size=(1, 2, 2, 6))).astype(np.float16)
        write_features(feature_path(root, scene_id), FeatureMap(scene_id, ("a",), values), header)
    return FeatureFolder(root)


def test_statistics_equal_those_of_all_tokens_at_once(tmp_path: Path) -> None:
    stored = folder(tmp_path)
    found = feature_statistics(stored, SCENES)
    tokens = np.concatenate([stored[each].features.reshape(-1, 6) for each in SCENES])
    np.testing.assert_allclose(found.mean, tokens.astype(np.float64).mean(0))
    np.testing.assert_allclose(found.std, tokens.astype(np.float64).std(0))
    assert found.tokens == 12


def test_statistics_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one scene"):
        feature_statistics(FeatureFolder(tmp_path), [])


def test_statistics_are_read_back_exactly(tmp_path: Path) -> None:
    folder(tmp_path)
    written, read = write_statistics(tmp_path, ["kitchen", "hall"]), read_statistics(tmp_path)
    np.testing.assert_array_equal(read.mean, written.mean)
    np.testing.assert_array_equal(read.std, written.std)
    assert (read.tokens, read.scene_ids) == (8, ("hall", "kitchen"))


def test_missing_statistics_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"statistics\.json: no statistics"):
        read_statistics(tmp_path)


def test_stored_statistics_are_taken_for_the_scenes_they_are_of_and_no_others(
    tmp_path: Path,
) -> None:
    stored = folder(tmp_path)
    write_statistics(tmp_path, ["hall", "kitchen"])
    content = json.loads((tmp_path / STATISTICS).read_text())
    (tmp_path / STATISTICS).write_text(json.dumps({**content, "mean": [7.0] * 6}))
    assert statistics_of(stored, ["kitchen", "hall"]).mean.tolist() == [7.0] * 6
    others = statistics_of(stored, ["attic", "hall"])
    np.testing.assert_array_equal(others.mean, feature_statistics(stored, ["attic", "hall"]).mean)


def test_one_extraction_has_one_header(tmp_path: Path) -> None:
    assert check_one_extraction(folder(tmp_path), SCENES) == HEADER


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"teacher": "flare"}, "teacher is 'vggt'"),
        ({"source_digest": "cd" * 32}, "source_digest is"),
        ({"preprocessing": "squashed"}, "preprocessing is"),
        ({"layer": 11}, "layer is 23 for"),
    ],
)
def test_scenes_of_several_extractions_are_refused(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    stored = folder(tmp_path, (HEADER, HEADER, replace(HEADER, **change)))
    with pytest.raises(DataError, match=complaint) as caught:
        check_one_extraction(stored, SCENES)
    assert "for scene kitchen" in str(caught.value)


def test_another_grid_is_another_extraction(tmp_path: Path) -> None:
    stored = folder(tmp_path)
    values = np.zeros((1, 4, 4, 6), np.float16)
    write_features(feature_path(tmp_path, "hall"), FeatureMap("hall", ("a",), values), HEADER)
    with pytest.raises(DataError, match="grid is '2x2' for scene attic, '4x4' for scene hall"):
        check_one_extraction(stored, SCENES)
