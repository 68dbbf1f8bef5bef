"""How many seeds show a difference: power of the paired t test over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

POWER = 0.8
ALPHA = 0.05
MOST_SEEDS = 1000


def power_of_seeds(seeds: int, difference: float, spread: float) -> float:
    """Probability that the two-sided test at 5 % sees a difference.

    With d = difference / spread, t follows a noncentral t distribution of n - 1 degrees of freedom
    and noncentrality d sqrt(n).

    Args:
        seeds: pairs, two or more.
        difference: true mean of the paired differences.
        spread: standard deviation of the paired differences.
    """
    from scipy.stats import nct, t  # a second to import, and few plans ask

    degrees = seeds - 1
    shift = abs(difference) / spread * math.sqrt(seeds)
    limit = t.ppf(1 - ALPHA / 2, degrees)
    return float(nct.sf(limit, degrees, shift) + nct.cdf(-limit, degrees, shift))


def seeds_needed(difference: float, spread: float) -> int | None:
    """Fewest seeds with a power of 80 %; None if a thousand are too few."""
    if spread <= 0:
        return 2
    few, many = 1, 2
    while power_of_seeds(many, difference, spread) < POWER:
        few, many = many, 2 * many
        if few >= MOST_SEEDS:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        enough = power_of_seeds(middle, difference, spread) >= POWER
        few, many = (few, middle) if enough else (middle, many)
    return many if many <= MOST_SEEDS else None


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation within groups, each around its own mean; None without two of one group."""
    squares, degrees = 0.0, 0
    for values in groups:
        if len(values) > 1:
            mean = sum(values) / len(values)
            squares += sum((value - mean) ** 2 for value in values)
            degrees += len(values) - 1
    return math.sqrt(squares / degrees) if degrees else None
