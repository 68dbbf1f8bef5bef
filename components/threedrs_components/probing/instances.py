"""Instance probe: are cells of one object, seen in two frames, more alike than cells of two?"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from threedrs_components.metrics.rank_correlation import average_ranks
from threedrs_components.probing.correspondence import standardised
from threedrs_components.scenes.prepared import PreparedScene

MOST_CELLS = 512
"""Cells of a scene that are compared in pairs, drawn by its name alone."""
MOSTLY = 0.5
"""A cell shows an object if more than this share of its pixels lies in the object's box."""


def cells_of_objects(scene: PreparedScene) -> tuple[Tensor, Tensor]:
    """[m] tokens that mostly show one object, and [m] which one."""
    if not len(scene.object_weights):
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    shares, objects = scene.object_weights.flatten(1).max(dim=0)
    found = (shares > MOSTLY).nonzero()[:, 0].tolist()
    chosen = random.Random(f"{scene.scene_id}/instances").sample(found, min(MOST_CELLS, len(found)))
    tokens = torch.tensor(sorted(chosen), dtype=torch.int64)
    return tokens, objects[tokens]


def instance_separation(features: Tensor, scene: PreparedScene) -> float | None:
    """Chance that a pair of cells of one object is more alike than a pair of cells of two.

    Alike is the cosine after every dimension is standardised over the scene's tokens; both cells
    of a pair are of different frames. 0.5 is what features without any notion of objects give.

    Args:
        features: [T, D] of all tokens.
        scene: with objects.

    Returns:
        Area under the ROC curve; None of a scene without pairs of either kind.
    """
    tokens, objects = cells_of_objects(scene)
    if len(tokens) < 2:
        return None
    units = normalize(standardised(features)[tokens], dim=-1)
    first, second = torch.triu_indices(len(tokens), len(tokens), offset=1)
    frames = tokens // scene.grid**2
    across = frames[first] != frames[second]
    first, second = first[across], second[across]
    same = (objects[first] == objects[second]).numpy()
    if not same.any() or same.all():
        return None
    ranks = average_ranks((units @ units.T)[first, second].double().numpy())
    alike = int(same.sum())
    above = float(np.sum(ranks[same])) - alike * (alike + 1) / 2
    return above / (alike * (len(same) - alike))
