"""Probes of one feature source over the scenes of a world: correspondence scene by scene, position.

The position probe is fitted on scenes of one split and read on another; beside it stands its
content-free control, which knows only in which frame and patch an object is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.probing.config import ProbeConfig
from threedrs_components.probing.correspondence import CorrespondenceScore, correspondence_score
from threedrs_components.probing.position import (
    content_free_features,
    object_features,
    position_probe,
)
from threedrs_components.scenes.ahead import ahead, in_memory
from threedrs_components.scenes.prepared import PreparedScene, scene_pairs
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric, SampleScore

Float64 = NDArray[np.float64]
FeaturesOf = Callable[[PreparedScene], Tensor]
"""A scene to its features [F, P, P, C]."""
SCENE_SCORES = ("score", "margin", "standardised", "mean_of_voxels")
"""What is reported of every scene; see CorrespondenceScore."""
UNITS = dict.fromkeys(SCENE_SCORES, "cosine")


class Scenes(Protocol):
    """Prepared scenes by id."""

    def __getitem__(self, scene_id: str, /) -> PreparedScene: ...


@dataclass(frozen=True)
class ProbedObjects:
    """Objects of some scenes: pooled features, content-free features and centres, row by row."""

    features: Float64
    content_free: Float64
    centres: Float64
    scenes: tuple[str, ...]


@dataclass(frozen=True)
class WorldProbe:
    """What the probes of a world gave."""

    metrics: tuple[Metric, ...]
    scores: tuple[SampleScore, ...]
    without_pairs: tuple[str, ...]
    """Scenes no voxel of which is seen twice: they have no correspondence score."""


@dataclass(frozen=True)
class ProbedScene:
    """What the probes take from one scene."""

    objects: ProbedObjects
    score: CorrespondenceScore | None
    """None of a scene that the position probe is fitted on."""


def probe_scenes(
    features_of: FeaturesOf,
    prepared: Scenes,
    scene_ids: Sequence[str],
    scored: Container[str],
    config: ProbeConfig,
) -> Iterator[tuple[str, ProbedScene]]:
    """Probe scenes one by one; those of `scored` get a correspondence score, too."""
    with closing(ahead(lambda scene_id: in_memory(prepared[scene_id]), scene_ids)) as scenes:
        for scene_id, scene in zip(scene_ids, scenes, strict=True):
            features = features_of(scene)
            score = None
            if scene_id in scored:
                pairs = scene_pairs(scene, level=config.level, voxel_m=config.voxel_m)
                score = correspondence_score(features.flatten(0, 2), pairs)
            yield scene_id, ProbedScene(_objects(scene, features), score)


def check_apart(fit: Sequence[str], test: Sequence[str]) -> None:
    """Check two lists of scenes.

    Raises:
        DataError: the lists overlap.
    """
    if set(fit) & set(test):
        raise DataError("the position probe would be read on scenes that it was fitted on")


def probe_world(
    probed: Mapping[str, ProbedScene], fit: Sequence[str], test: Sequence[str], config: ProbeConfig
) -> WorldProbe:
    """The probes of a world from those of its scenes, by id; `fit` and `test` must not overlap.

    Raises:
        DataError: they do, or no object is visible in one of them.
    """
    check_apart(fit, test)
    scored = {scene_id: score for scene_id in test if (score := probed[scene_id].score)}
    with_pairs = {scene_id: score for scene_id, score in scored.items() if score.pairs}
    metrics = [*_scene_metrics(with_pairs)]
    fitted, read = ([probed[scene_id].objects for scene_id in part] for part in (fit, test))
    if any(len(each.scenes) for each in fitted):
        metrics += _position_metrics(_joined(fitted), _joined(read), config)
    return WorldProbe(
        metrics=tuple(metrics),
        scores=tuple(
            SampleScore(f"probe/{name}", scene_id, scene_id, getattr(score, name))
            for scene_id, score in with_pairs.items()
            for name in SCENE_SCORES
        ),
        without_pairs=tuple(sorted(set(scored) - set(with_pairs))),
    )


def _scene_metrics(scored: dict[str, CorrespondenceScore]) -> list[Metric]:
    """Means over scenes, with a 95 % interval of the mean; the number of pairs in all."""
    if not scored:
        return []
    metrics = []
    for name in SCENE_SCORES:
        values = np.array([getattr(score, name) for score in scored.values()])
        half = 1.96 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
        mean = float(values.mean())
        interval = (mean - half, mean + half) if half is not None else None
        metrics.append(Metric(f"probe/{name}", mean, len(values), unit=UNITS[name], ci95=interval))
    pairs = sum(score.pairs for score in scored.values())
    metrics.append(Metric("probe/pairs", pairs, len(scored), unit="pairs"))
    return metrics


def _position_metrics(fit: ProbedObjects, test: ProbedObjects, config: ProbeConfig) -> list[Metric]:
    """R2 of the object centre, per axis and on average, beside the content-free control."""
    axes = len(config.position_axes)

    def read(features: str) -> tuple[float, tuple[float, ...]]:
        probe = position_probe(
            getattr(fit, features),
            fit.centres[:, :axes],
            getattr(test, features),
            test.centres[:, :axes],
            scenes_fit=fit.scenes,
            ridge=config.ridge,
            folds=config.folds,
        )
        return probe.mean_r2, probe.r2

    mean, by_axis = read("features")
    control, _ = read("content_free")
    n = len(test.scenes)
    name = f"probe/position_{config.position_axes}"
    return [
        Metric(name, mean, n, unit="R2", chance=control),
        *(
            Metric(f"{name}/{axis}", value, n, unit="R2")
            for axis, value in zip(config.position_axes, by_axis, strict=True)
        ),
        Metric(f"{name}/content_free", control, n, unit="R2", chance=0.0),
    ]


def _objects(scene: PreparedScene, features: Tensor) -> ProbedObjects:
    pooled, visible = object_features(features, scene.object_weights)
    content_free, _ = content_free_features(scene.object_weights)
    centres = scene.boxes[visible, :3]
    return ProbedObjects(
        pooled.double().numpy(),
        content_free.double().numpy(),
        centres.double().numpy(),
        (scene.scene_id,) * len(centres),
    )


def _joined(parts: Sequence[ProbedObjects]) -> ProbedObjects:
    joined = ProbedObjects(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.content_free for part in parts]),
        np.concatenate([part.centres for part in parts]),
        tuple(scene for part in parts for scene in part.scenes),
    )
    if not joined.scenes:
        raise DataError("no object is visible in the scenes of the position probe")
    return joined
