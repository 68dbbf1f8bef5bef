"""The exam that every kind of teacher takes: what steps, training and reports rely on.

Each complaint says what to do, for it is read by whoever adds a kind.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from threedrs_components.teachers.extraction import extract_scenes, header_of, pooled
from threedrs_components.teachers.settings import Sight, TeacherSettings
from threedrs_platform.config.kinds import choose, kinds_of
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.records import Scene
from threedrs_platform.store.features import FeatureFolder

GRID = 2


def check_facts(config: type[TeacherSettings]) -> None:
    """The configuration class says what it is, where weights are, and what the model learned from.

    Raises:
        AssertionError: a fact is missing.
    """
    name = config.__name__
    assert kinds_of(config), f'{name}: give it its name, as `kind: Literal["mine"] = "mine"`'
    weights = getattr(config, "weights", "")
    assert weights is None or weights, (
        f"{name}: say in `weights` where the weights are and their terms, or None if it needs none"
    )
    assert not config.model_fields["sees"].is_required(), (
        f"{name}: say what it learned from ({', '.join(get_args(Sight))}), as "
        '`sees: Annotated[Literal["2d"], REPORTED] = "2d"`'
    )


def check_walls(config: type[TeacherSettings], others: set[str]) -> None:
    """A step that uses the teacher reaches neither other kinds nor their registry.

    Args:
        config: the configuration class.
        others: modules that it must not lead to.

    Raises:
        AssertionError: names the modules that it leads to.
    """
    reached = set(CodeIndex().modules(config.__module__)) & others
    assert not reached, (
        f"{config.__module__} imports {', '.join(sorted(reached))}, perhaps through another "
        "module: an edit there would make this teacher's features anew; move what both need"
    )


def check_features(config: TeacherSettings, scene: Scene) -> Tensor:
    """The loaded teacher gives the features that training reads, the same whenever it is asked.

    Raises:
        AssertionError: says what is wrong with them.
    """
    assert choose(config).open(type(config)) == config, (
        "a step does not get the teacher that was configured"
    )
    teacher = config.build()
    features = teacher.scene_features(scene)
    kind, shape = config.kind, list(features.shape)
    assert features.dim() == 4 and len(features) == len(scene.frame_names), (
        f"{kind}: features of shape {shape}; give [frames, rows, columns, channels]"
    )
    assert teacher.grid in shape[1:3], f"{kind}: grid {teacher.grid}, but features of shape {shape}"
    own = config.own_grid((scene.images.shape[1], scene.images.shape[2]))
    assert own is None or own >= min(shape[1:3]), (
        f"{kind}: own_grid {own}, but features of shape {shape}; it says how fine they are at most"
    )
    other_grid = config.at_grid(GRID).build().scene_features(scene)
    assert other_grid.shape[-1] == shape[-1], (
        f"{kind}: {shape[-1]} channels, but {other_grid.shape[-1]} on another grid; is the last "
        "dimension that of the channels? give [frames, rows, columns, channels]"
    )
    assert features.dtype == torch.float32, f"{kind}: features are {features.dtype}, not float32"
    assert not features.requires_grad, f"{kind}: features carry a gradient; compute without one"
    assert bool(features.isfinite().all()), f"{kind}: features are not finite"
    assert torch.equal(teacher.scene_features(scene), features), (
        f"{kind}: features differ from call to call; draw nothing at random, train nothing"
    )
    again = config.build()
    assert torch.equal(again.scene_features(scene), features), (
        f"{kind}: features differ from one loading to the next; is a weight drawn at random?"
    )
    _check_card(config)
    return features


def check_stored(config: TeacherSettings, scene: Scene, folder: Path) -> None:
    """Features go into a file and come back, with what must be known about them.

    Raises:
        AssertionError: something is lost on the way.
    """

    class Source:
        def splits(self) -> list[str]:
            return ["all"]

        def scenes(self, split: str) -> list[str]:
            return [scene.scene_id]

        def load(self, scene_id: str) -> Scene:
            return scene

    teacher = config.at_grid(GRID).build()
    for kept in ((), (scene.scene_id,)):
        done = extract_scenes(teacher, Source(), [scene.scene_id], folder, GRID)
        assert done.kept == kept, f"{config.kind}: a second extraction does not know the first"
    stored = FeatureFolder(folder).stored(scene.scene_id)
    assert stored.header == header_of(teacher.card), f"{config.kind}: its card is not in the file"
    assert tuple(stored.features.frame_names) == scene.frame_names
    expected = pooled(teacher.scene_features(scene), GRID).numpy()
    np.testing.assert_allclose(stored.features.features, expected, atol=1e-3, rtol=1e-3)


def _check_card(config: TeacherSettings) -> None:
    card = config.model_copy(update={"licence": "CC0"}).build().card
    empty = [name for name in ("kind", "preprocessing", "output") if not asdict(card)[name]]
    assert not empty, f"{config.kind}: its card says nothing about {', '.join(empty)}"
    assert card.licence == "CC0", f"{config.kind}: the card must carry the configured licence"
    length = 0 if config.weights is None else 64
    assert len(card.source_digest) == length, (
        f"{config.kind}: source_digest {card.source_digest!r} must be the sha256 of the weights, "
        "empty without any"
    )
