"""Probes of one feature source over the scenes of a world: what is to be read at its places.

Linear probes are fitted on scenes of one split and read on another; beside each stands its
content-free control, which knows only in which frame and patch a thing is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from threedrs_components.probing.cells import drawn_cells
from threedrs_components.probing.config import ProbeConfig, Reading
from threedrs_components.probing.correspondence import CorrespondenceScore, correspondence_score
from threedrs_components.probing.instances import instance_separation
from threedrs_components.probing.linear import LinearProbes, Things
from threedrs_components.probing.position import (
    Floats,
    content_free_features,
    object_features,
)
from threedrs_components.scenes.ahead import ahead, in_memory
from threedrs_components.scenes.prepared import PreparedScene, scene_pairs
from threedrs_components.students.places import Place
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric, SampleScore

FeaturesOf = Callable[[PreparedScene], Mapping[Place, Tensor]]
"""A scene to its features [F, P, P, C] at each place, that of `ProbeConfig.layer` among them."""
SCENE_SCORES = ("score", "margin", "standardised", "mean_of_voxels")
"""What is reported of every scene; see CorrespondenceScore."""
AT_PLACES = ("score", "margin")
"""What of it is reported of further places."""
UNITS = dict.fromkeys(SCENE_SCORES, "cosine")
AT = "probe/at"
"""Beginning of the metrics of further places, before the place."""


class Scenes(Protocol):
    """Prepared scenes by id."""

    def __getitem__(self, scene_id: str, /) -> PreparedScene: ...


@dataclass(frozen=True)
class WorldProbe:
    """What the probes of a world gave."""

    metrics: tuple[Metric, ...]
    scores: tuple[SampleScore, ...]
    without_pairs: tuple[str, ...]
    """Scenes no voxel of which is seen twice: they have no correspondence score."""


@dataclass(frozen=True)
class Compared:
    """What needs no fitting, at one place of one scene."""

    score: CorrespondenceScore | None = None
    """None where it is not wanted."""
    instance: float | None = None
    """None also of a scene without pairs; see `instance_separation`."""


@dataclass(frozen=True)
class ProbedScene:
    """What the probes take from one scene."""

    objects: Things
    cells: Things | None
    """None where nothing is read of them."""
    compared: Mapping[Place, Compared]
    """Nothing is, of a scene that linear probes are fitted on."""


def probe_scenes(
    features_of: FeaturesOf,
    prepared: Scenes,
    scene_ids: Sequence[str],
    scored: Container[str],
    config: ProbeConfig,
) -> Iterator[tuple[str, ProbedScene]]:
    """Probe scenes one by one; those of `scored` also by what needs no fitting."""
    with closing(ahead(lambda scene_id: in_memory(prepared[scene_id]), scene_ids)) as scenes:
        for scene_id, scene in zip(scene_ids, scenes, strict=True):
            yield scene_id, _probed(scene, features_of(scene), scene_id in scored, config)


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
        DataError: they do, or nothing that is fitted is visible in `test`.
    """
    check_apart(fit, test)
    fitted, read = ([probed[scene_id] for scene_id in part] for part in (fit, test))
    linear = LinearProbes(_things(fitted, config), _things(read, config), config)

    def compared(place: Place) -> dict[str, Compared]:
        return {scene_id: probed[scene_id].compared[place] for scene_id in test}

    main = compared(config.layer)
    with_pairs = _with_pairs(main)
    metrics = [
        *_correspondence(with_pairs, SCENE_SCORES),
        *_pairs(with_pairs),
        *linear.in_full(config.layer),
        *_instance(main),
    ]
    for place in read[0].compared if read and config.places else ():
        here = compared(place)
        short = [*_correspondence(_with_pairs(here), AT_PLACES), *linear.in_short(place)]
        metrics += [_at(place, each) for each in (*short, *_instance(here))]
    return WorldProbe(
        metrics=tuple(metrics),
        scores=tuple(
            SampleScore(f"probe/{name}", scene_id, scene_id, getattr(score, name))
            for scene_id, score in with_pairs.items()
            for name in SCENE_SCORES
        ),
        without_pairs=tuple(
            sorted(
                scene_id
                for scene_id, each in main.items()
                if each.score is not None and scene_id not in with_pairs
            )
        ),
    )


def _probed(
    scene: PreparedScene, features: Mapping[Place, Tensor], scored: bool, config: ProbeConfig
) -> ProbedScene:
    compares = scored and "correspondence" in config.reads
    pairs = scene_pairs(scene, level=config.level, voxel_m=config.voxel_m) if compares else None
    cells = drawn_cells(scene, config.cells) if {"depth", "normals"} & {*config.reads} else None
    pooled: dict[Place, Floats] = {}
    drawn: dict[Place, Floats] = {}
    compared: dict[Place, Compared] = {}
    for place, states in features.items():
        # One place after another: of all of them there is no room in float32.
        states = states.float().cpu()
        tokens = states.flatten(0, 2)
        pooled[place] = object_features(states, scene.object_weights)[0].numpy()
        if cells is not None:
            drawn[place] = tokens[cells.tokens].numpy()
        separates = scored and "instance" in config.reads
        compared[place] = Compared(
            score=None if pairs is None else correspondence_score(tokens, pairs),
            instance=instance_separation(tokens, scene) if separates else None,
        )
    content_free, visible = content_free_features(scene.object_weights)
    centres = scene.boxes[visible, :3].double().numpy()
    objects = Things(scene.scene_id, {"position": centres}, content_free.numpy(), pooled)
    if cells is None:
        return ProbedScene(objects, None, compared)
    truths: dict[Reading, Floats] = {
        "depth": cells.depths.numpy(),
        "normals": cells.normals.numpy(),
    }
    things = Things(scene.scene_id, truths, cells.content_free.numpy(), drawn)
    return ProbedScene(objects, things, compared)


def _things(scenes: Sequence[ProbedScene], config: ProbeConfig) -> dict[Reading, list[Things]]:
    objects = [each.objects for each in scenes]
    cells = [each.cells for each in scenes if each.cells is not None]
    every: dict[Reading, list[Things]] = {"position": objects, "depth": cells, "normals": cells}
    return {reading: things for reading, things in every.items() if reading in config.reads}


def _at(place: Place, metric: Metric) -> Metric:
    return replace(metric, name=f"{AT}/{place}/{metric.name.removeprefix('probe/')}")


def _with_pairs(compared: Mapping[str, Compared]) -> dict[str, CorrespondenceScore]:
    return {
        scene_id: each.score
        for scene_id, each in compared.items()
        if each.score is not None and each.score.pairs
    }


def _correspondence(
    scored: Mapping[str, CorrespondenceScore], names: Sequence[str]
) -> list[Metric]:
    """Means over scenes."""
    return [
        _mean(f"probe/{name}", [getattr(score, name) for score in scored.values()], UNITS[name])
        for name in (names if scored else ())
    ]


def _pairs(scored: Mapping[str, CorrespondenceScore]) -> list[Metric]:
    pairs = sum(score.pairs for score in scored.values())
    return [Metric("probe/pairs", pairs, len(scored), unit="pairs")] if scored else []


def _instance(compared: Mapping[str, Compared]) -> list[Metric]:
    found = [each.instance for each in compared.values() if each.instance is not None]
    return [replace(_mean("probe/instance", found, "AUC"), chance=0.5)] if found else []


def _mean(name: str, found: Sequence[float], unit: str) -> Metric:
    """Mean over scenes, with its 95 % interval."""
    values = np.array(found)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
    mean = float(values.mean())
    interval = (mean - half, mean + half) if half is not None else None
    return Metric(name, mean, len(values), unit=unit, ci95=interval)
