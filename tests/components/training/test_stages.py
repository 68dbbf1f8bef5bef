"""One schedule for every optimisation."""

from __future__ import annotations

import math

import pytest

from threedrs_components.training.stages import schedule


def test_the_learning_rate_rises_then_falls_to_almost_nothing() -> None:
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert max(factors) == 1.0
    assert factors[-1] < 0.001


def test_warm_up_takes_whole_steps_rounded_up_as_released() -> None:
    steps, warmup = 13945, 419
    assert schedule(warmup - 1, steps, 0.03) < schedule(warmup, steps, 0.03) == 1.0
    assert schedule(0, steps, 0.03) == pytest.approx(1 / (warmup + 1))


def test_a_warm_up_from_zero_is_that_of_transformers() -> None:
    """Its cosine schedule, written out: the rate of the n-th update, counted from 0."""
    steps, warmup = 200, 6
    theirs = [
        n / warmup
        if n < warmup
        else 0.5 * (1 + math.cos(math.pi * (n - warmup) / (steps - warmup)))
        for n in range(steps)
    ]
    assert [schedule(n, steps, 0.03, from_zero=True) for n in range(steps)] == theirs
    assert theirs[0] == 0.0
