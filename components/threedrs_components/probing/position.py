"""Linear probe: can position, or anything, be read from features, on unseen scenes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.probing.config import ProbeConfig

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
"""Numbers of any precision."""

DRAWS = 200
"""Of held-out scenes, for an interval."""
DEFAULT_RIDGE: tuple[float, ...] = ProbeConfig.model_fields["ridge"].default
DEFAULT_FOLDS: int = ProbeConfig.model_fields["folds"].default


@dataclass(frozen=True)
class LinearProbe:
    """How well values were read on held-out scenes. 1 is exact; guessing the mean gives 0."""

    r2: tuple[float, ...]
    """Per axis: 1 - squared error / squared deviation from the held-out mean."""
    mean_r2: float
    trivial_r2: float
    """Mean over axes for guessing the fit scenes' mean: 0 or a little below."""
    ridge: float
    """Penalty chosen by cross-validation inside the fit scenes."""
    n_fit: int
    n_test: int
    interval: tuple[float, float] | None = None
    """95 % interval of mean_r2 over draws of the held-out scenes, the fit as it is; None without
    two scenes to draw from."""


@dataclass(frozen=True)
class Ridge:
    """A fitted linear map of standardised features."""

    mean: Float64
    deviation: Float64
    weights: Float64
    """[D, A]"""
    offset: Float64
    """[A]"""

    def __call__(self, features: Float64) -> Float64:
        """[N, D] features to [N, A] values."""
        return (features - self.mean) / self.deviation @ self.weights + self.offset


def linear_probe(
    features_fit: Floats,
    targets_fit: Floats,
    features_test: Floats,
    targets_test: Floats,
    *,
    scenes_fit: Sequence[str] | None = None,
    scenes_test: Sequence[str] | None = None,
    ridge: Sequence[float] = DEFAULT_RIDGE,
    folds: int = DEFAULT_FOLDS,
) -> LinearProbe:
    """Fit a ridge regression on some objects and score it on others of unseen scenes.

    Args:
        features_fit: [N, D] one vector per object (see `object_features`), or per cell.
        targets_fit: [N, A] what is to be read, such as centres in metres, one column per axis.
        features_test: [M, D] objects of other scenes.
        targets_test: [M, A].
        scenes_fit: scene of each fit object; cross-validation keeps a scene in one fold. Without
            it every object is a scene.
        scenes_test: scene of each other object, for the interval.
        ridge: penalties to choose from.
        folds: cross-validation folds.

    Raises:
        ValueError: too few objects or scenes, or a value that is not finite.
    """
    parts = (features_fit, targets_fit, features_test, targets_test)
    fit_x, fit_y, test_x, test_y = (np.asarray(part, dtype=np.float64) for part in parts)
    for name, values in (("fit", fit_x), ("fit", fit_y), ("test", test_x), ("test", test_y)):
        _check(name, values)
    if scenes_fit is None:
        scenes_fit = [str(number) for number in range(len(fit_x))]
    fold = _folds(scenes_fit, folds)
    chosen = _best_ridge(fit_x, fit_y, fold, ridge)
    predicted = fit_ridge(fit_x, fit_y, [chosen])[0](test_x)
    r2 = r_squared(predicted, test_y)
    trivial = r_squared(np.broadcast_to(fit_y.mean(axis=0), test_y.shape), test_y)
    return LinearProbe(
        r2=tuple(float(value) for value in r2),
        mean_r2=float(r2.mean()),
        trivial_r2=float(trivial.mean()),
        ridge=chosen,
        n_fit=len(fit_x),
        n_test=len(test_x),
        interval=None if scenes_test is None else r2_interval(predicted, test_y, scenes_test),
    )


def fit_ridge(features: Float64, targets: Float64, penalties: Sequence[float]) -> list[Ridge]:
    """One map per penalty from a single eigendecomposition of the smaller Gram matrix."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    constant = deviation <= 1e-9 * np.abs(mean)
    deviation = np.where(constant, np.inf, deviation)
    x, offset = (features - mean) / deviation, targets.mean(axis=0)
    y = targets - offset
    wide = x.shape[1] > x.shape[0]
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    values = np.maximum(values, 0.0)
    seen = vectors.T @ (y if wide else x.T @ y)
    maps = []
    for penalty in penalties:
        solved = vectors @ (seen / (values + penalty)[:, None])
        maps.append(Ridge(mean, deviation, x.T @ solved if wide else solved, offset))
    return maps


def r_squared(predicted: Float64, targets: Float64) -> Float64:
    """[A] share of the variance explained, per axis; NaN where the targets do not vary."""
    error = ((targets - predicted) ** 2).sum(axis=0)
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    unexplained: Float64 = np.full(spread.shape, np.nan)
    np.divide(error, spread, where=spread > 0, out=unexplained)
    return 1 - unexplained


def r2_interval(
    predicted: Float64, targets: Float64, scenes: Sequence[str]
) -> tuple[float, float] | None:
    """95 % interval of R2, mean over axes, over DRAWS draws of whole scenes with replacement.

    Args:
        predicted: [N, A].
        targets: [N, A].
        scenes: of each row; rows of one scene are not independent.
    """
    names, scene = np.unique(np.asarray(scenes), return_inverse=True)
    if len(names) < 2:
        return None
    centred = targets - targets.mean(axis=0)
    terms = np.stack([(targets - predicted) ** 2, centred**2, centred, np.ones_like(centred)])
    by_scene = np.zeros((len(names), *terms.shape[::2]))
    np.add.at(by_scene, scene, terms.swapaxes(0, 1))
    drawn = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    error, squares, sums, count = by_scene[drawn].sum(axis=1).swapaxes(0, 1)
    spread = squares - sums**2 / count
    varied = (spread > 0).all(axis=1)
    if not varied.any():
        return None
    low, high = np.percentile((1 - error[varied] / spread[varied]).mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def object_features(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pool a scene's visual tokens over each object.

    Args:
        features: [F, P, P, C].
        weights: [K, F, P, P] share of each token's cell that lies in the object.

    Returns:
        [V, C] float32 weighted means, and [K] bool: the V objects that any frame sees.
    """
    flat = weights.flatten(1).float()
    visible = flat.sum(dim=1) > 0
    seen = flat[visible]
    pooled = seen @ features.reshape(-1, features.shape[-1]).float()
    return pooled / seen.sum(dim=1, keepdim=True), visible


def content_free_features(weights: Tensor) -> tuple[Tensor, Tensor]:
    """`object_features` of one-hot tokens: where in which frame an object is seen, nothing else.

    A probe on these shows how much position leaks through the camera path.

    Args:
        weights: [K, F, P, P].

    Returns:
        [V, F * P * P] and [K] bool.
    """
    flat = weights.flatten(1).float()
    visible = flat.sum(dim=1) > 0
    return flat[visible] / flat[visible].sum(dim=1, keepdim=True), visible


def _folds(scenes: Sequence[str], folds: int) -> NDArray[np.int64]:
    """Fold of each object; the scenes, in order of name, are dealt out in turn."""
    names, scene = np.unique(np.asarray(scenes), return_inverse=True)
    if len(names) < 2:
        raise ValueError("a linear probe needs objects of at least two scenes to fit on")
    return np.asarray(scene % min(folds, len(names)), dtype=np.int64)


def _best_ridge(
    features: Float64, targets: Float64, fold: NDArray[np.int64], penalties: Sequence[float]
) -> float:
    """The penalty whose cross-validated predictions explain most; the larger one if equal."""
    predicted = np.empty((len(penalties), *targets.shape))
    for held_out in np.unique(fold):
        out = fold == held_out
        for number, ridge in enumerate(fit_ridge(features[~out], targets[~out], penalties)):
            predicted[number, out] = ridge(features[out])
    explained = [float(r_squared(each, targets).mean()) for each in predicted]
    return max(zip(explained, penalties, strict=True))[1]


def _check(name: str, values: Float64) -> None:
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"{name} objects: need at least two, got an array {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} object {bad[0]}: a feature or coordinate is not finite")
