"""The `tune:` section of a grid file, checked for its form. Imports no Optuna."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from threedrs_platform.config import Config

Direction = Literal["maximize", "minimize"]
SamplerName = Literal["tpe", "random", "grid", "cmaes", "gp"]
PrunerName = Literal["none", "median", "hyperband"]
HIGHEST_SEED = 2**31 - 1
"""What every reader takes: torch takes 64 bits, NumPy's old generators 32, the database 31."""
Seed = Annotated[int, Field(ge=0, le=HIGHEST_SEED)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1)]


class TuneSection(Config):
    """What is searched, by which measure, at which price. Every arm gets the same."""

    space: dict[str, Any] = Field(min_length=1)
    """Setting -> {float: [low, high]}, {int: [low, high]} or {categorical: [a, b, ...]}; numbers
    take `log: true` or `step`."""
    metric: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """What a trial is judged by, e.g. scanrefer/acc@0.25; several give a Pareto front."""
    direction: Direction | tuple[Direction, ...] = "maximize"
    """One for all metrics, or one each."""
    arms: tuple[str, ...] = ()
    """Tune separately for every value that the grid's cells have of these settings."""
    trials: PositiveInt = 16
    """Of each arm."""
    sampler: SamplerName = "tpe"
    """What proposes the next trial: Optuna's sampler of that name."""
    pruner: PrunerName = "none"
    """Ends trials early whose watched curve is worse than that of others at the same step."""
    watch: str = "validation/loss"
    """The curve that pruning looks at."""
    startup_trials: PositiveInt = 5
    """Trials at random, and without pruning, before sampler and pruner learn from them."""
    seeds: Seeds = (0,)
    """Every trial is trained with each; its value is the mean."""
    held_out: float = Field(default=0.2, gt=0, lt=1)
    """Share of the annotated training scenes that trials do not train on but are scored on."""
    on_split: str = "train"
    """Where those scenes come from; the evaluated split is refused."""
    parallel: PositiveInt = 2
    """Trials at a time."""
    seed: Seed = 0
    """Of the sampler."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def directions(self) -> tuple[Direction, ...]:
        """One per metric."""
        if isinstance(self.direction, tuple):
            return self.direction
        return (self.direction,) * len(self.metrics)
