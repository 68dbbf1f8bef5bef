"""Probes over the scenes of a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from threedrs_components.probing.config import ProbeConfig
from threedrs_components.probing.correspondence import standardised
from threedrs_components.probing.instances import cells_of_objects, instance_separation
from threedrs_components.probing.world import (
    FeaturesOf,
    WorldProbe,
    probe_scenes,
    probe_world,
)
from threedrs_components.scenes.pairs import token_pair_matrix
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.scenes.token_geometry import TokenGeometry
from threedrs_components.students.places import Place
from threedrs_platform.errors import DataError

FRAMES, GRID = 3, 4
FeaturesAtOnce = Callable[[PreparedScene], Tensor]


def scene(number: int, spread_m: float = 4.0) -> PreparedScene:
    """Tokens at random places; object k is seen in one token of each frame, at its own centre."""
    random = torch.Generator().manual_seed(number)
    coordinates = spread_m * torch.rand(FRAMES, GRID, GRID, 3, generator=random)
    boxes = torch.cat([spread_m * torch.rand(4, 3, generator=random), torch.ones(4, 3)], dim=1)
    weights = torch.zeros(4, FRAMES, GRID, GRID)
    for index, box in enumerate(boxes):
        for frame in range(FRAMES):
            row, column = torch.randint(GRID, (2,), generator=random).tolist()
            weights[index, frame, row, column] = 1
            coordinates[frame, row, column] = box[:3]
    counts = torch.ones(FRAMES, GRID, GRID, dtype=torch.int32)
    return PreparedScene(
        scene_id=f"scene{number:02d}",
        frame_names=tuple(f"frame-{frame}" for frame in range(FRAMES)),
        labels=("thing",) * 4,
        images=torch.zeros(FRAMES, 8, 8, 3, dtype=torch.uint8),
        coordinates=coordinates,
        counts=counts,
        object_ids=torch.arange(4),
        boxes=boxes,
        object_weights=weights,
        proposals=boxes,
        proposal_weights=weights,
        pairs=token_pair_matrix(coordinates, counts > 0, grid=GRID),
        voxel_m=0.1,
        geometry=TokenGeometry(
            depths=1 + 3 * torch.rand(FRAMES, GRID, GRID, generator=random),
            normals=normalize(torch.randn(FRAMES, GRID, GRID, 3, generator=random), dim=-1),
            rays=torch.zeros(GRID, GRID, 3),
            cameras=torch.eye(4).repeat(FRAMES, 1, 1),
        ),
    )


SCENES = {each.scene_id: each for each in map(scene, range(40))}
NAMES = sorted(SCENES)
FIT, TEST = NAMES[:28], NAMES[28:]
CONFIG = ProbeConfig()
EVERYTHING = ProbeConfig(
    reads=("position", "correspondence", "depth", "normals", "instance"), places=("tower",)
)


def probe(
    features_of: FeaturesAtOnce, test: list[str], scenes: Mapping[str, PreparedScene] = SCENES
) -> WorldProbe:
    def at_last(scene: PreparedScene) -> dict[Place, Tensor]:
        return {CONFIG.layer: features_of(scene)}

    return probe_places(at_last, test, scenes, CONFIG)


def probe_places(
    features_of: FeaturesOf,
    test: list[str],
    scenes: Mapping[str, PreparedScene],
    config: ProbeConfig,
) -> WorldProbe:
    probed = dict(probe_scenes(features_of, scenes, [*FIT, *test], frozenset(test), config))
    return probe_world(probed, FIT, test, config)


def metrics_of(features_of: FeaturesAtOnce, test: list[str] = TEST) -> dict[str, float]:
    return {metric.name: metric.value for metric in probe(features_of, test).metrics}


def test_features_that_hold_the_position_are_read_out() -> None:
    metrics = metrics_of(lambda scene: scene.coordinates)
    assert metrics["probe/position_xy"] > 0.6
    assert metrics["probe/position_xy"] > metrics["probe/position_xy/content_free"] + 0.5


def test_noise_holds_no_position() -> None:
    random = torch.Generator().manual_seed(0)

    def noise(scene: PreparedScene) -> Tensor:
        return torch.randn(FRAMES, GRID, GRID, 8, generator=random)

    assert metrics_of(noise)["probe/position_xy"] < 0.2


def test_collapsed_features_score_one_with_no_margin() -> None:
    metrics = metrics_of(lambda scene: torch.ones(FRAMES, GRID, GRID, 5))
    assert metrics["probe/score"] == pytest.approx(1.0)
    assert metrics["probe/margin"] == pytest.approx(0.0, abs=1e-6)


def test_a_scene_seen_by_no_two_frames_is_reported_not_scored() -> None:
    scattered = scene(99)
    far_apart = 10.0 * torch.arange(FRAMES * GRID * GRID).reshape(FRAMES, GRID, GRID, 1)
    coordinates = far_apart.expand(-1, -1, -1, 3).contiguous()
    pairs = token_pair_matrix(coordinates, scattered.counts > 0, grid=GRID)
    lonely = replace(scattered, scene_id="lonely", coordinates=coordinates, pairs=pairs)
    scenes = {**SCENES, "lonely": lonely}
    found = probe(lambda each: each.coordinates, [*TEST, "lonely"], scenes)
    assert found.without_pairs == ("lonely",)
    assert "lonely" not in {score.scene_id for score in found.scores}


def test_fitting_on_test_scenes_is_refused() -> None:
    with pytest.raises(DataError, match="fitted on"):
        metrics_of(lambda scene: scene.coordinates, test=[FIT[0]])


def test_scenes_without_a_place_have_no_score_and_that_is_said() -> None:
    nowhere = {
        name: replace(
            each,
            counts=torch.zeros_like(each.counts),
            boxes=each.boxes[:0],
            object_weights=each.object_weights[:0],
            pairs=token_pair_matrix(each.coordinates, each.counts < 0, grid=GRID),
        )
        for name, each in SCENES.items()
    }
    found = probe(lambda each: each.coordinates, TEST[:2], nowhere)
    assert not found.metrics and not found.scores
    assert found.without_pairs == tuple(TEST[:2])


def told(scene: PreparedScene) -> Tensor:
    """Features that hold depth and normals, and which object a cell shows."""
    assert scene.geometry is not None
    objects = scene.object_weights.movedim(0, -1)
    geometry = scene.geometry
    return torch.cat([geometry.depths[..., None], geometry.normals, 10 * objects], dim=-1)


def test_every_place_is_read_for_itself() -> None:
    """The last layer knows depth, normals and objects; the tower knows where things are."""

    def features_of(scene: PreparedScene) -> dict[Place, Tensor]:
        return {-1: told(scene), "tower": scene.coordinates}

    found = {
        each.name: each for each in probe_places(features_of, TEST, SCENES, EVERYTHING).metrics
    }
    values = {name: each.value for name, each in found.items()}
    for reading in ("depth", "normals"):
        assert values[f"probe/{reading}"] > 0.99
        assert values[f"probe/at/-1/{reading}"] == values[f"probe/{reading}"]
        assert values[f"probe/at/tower/{reading}"] < 0.1
        assert found[f"probe/at/tower/{reading}"].chance == values[f"probe/{reading}/content_free"]
        assert found[f"probe/{reading}"].n == len(TEST) * EVERYTHING.cells
    assert values["probe/at/tower/position_xy"] > 0.6 > values["probe/position_xy"]
    instance = found["probe/instance"]
    assert instance.value > 0.95 and instance.chance == 0.5 and instance.n == 12
    assert values["probe/at/tower/margin"] != values["probe/margin"]


def test_what_is_not_asked_for_is_not_read() -> None:
    names = {each.name for each in probe(told, TEST).metrics}
    assert not [name for name in names if "depth" in name or "instance" in name or "/at/" in name]


def test_the_instance_probe_is_the_share_of_pairs_in_order() -> None:
    """Against all pairs of pairs, of cells of two frames."""
    one = SCENES[TEST[0]]
    features = torch.randn(FRAMES * GRID**2, 6, generator=torch.Generator().manual_seed(0))
    tokens, objects = cells_of_objects(one)
    units = normalize(standardised(features), dim=-1)
    same: list[float] = []
    other: list[float] = []
    for first in range(len(tokens)):
        for second in range(first):
            a, b = tokens[first], tokens[second]
            if a // GRID**2 != b // GRID**2:
                alike = float(units[a] @ units[b])
                (same if objects[first] == objects[second] else other).append(alike)
    right = [float(a > b) for a in same for b in other]
    assert instance_separation(features, one) == pytest.approx(sum(right) / len(right))
