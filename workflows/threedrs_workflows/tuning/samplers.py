"""Samplers and pruners by name."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from optuna import pruners, samplers

from threedrs_workflows.grid.tune_section import TuneSection
from threedrs_workflows.grid.tune_space import Dimension


def make_sampler(section: TuneSection, number: int) -> samplers.BaseSampler:
    """The sampler for the trial of this number.

    Each trial has a generator of its own, so a study that was interrupted asks what it would have
    asked anyway, and never the same again.
    """
    seed = random.Random(f"{section.seed}/{number}").randrange(2**31)
    startup = section.startup_trials
    match section.sampler:
        case "tpe":
            return samplers.TPESampler(
                n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed
            )
        case "cmaes":
            return samplers.CmaEsSampler(n_startup_trials=startup, seed=seed)
        case "gp":
            return samplers.GPSampler(n_startup_trials=startup, seed=seed)
        case _:  # the points of a grid are queued before they are asked for
            return samplers.RandomSampler(seed=seed)


def make_pruner(section: TuneSection, interval: int, steps: int) -> pruners.BasePruner:
    """The pruner of a study.

    Args:
        interval: training steps between two values of the watched curve.
        steps: training steps of a whole trial.
    """
    match section.pruner:
        case "median":
            return pruners.MedianPruner(n_startup_trials=section.startup_trials)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=interval, max_resource=steps)
        case _:
            return pruners.NopPruner()


def grid_points(dimensions: Sequence[Dimension], seed: int) -> list[dict[str, Any]]:
    """Every combination of all values, in an order that a small budget samples evenly."""
    columns = [[(d.path, d.encoded(value)) for value in d.points() or ()] for d in dimensions]
    points = [dict(row) for row in itertools.product(*columns)]
    random.Random(seed).shuffle(points)
    return points
