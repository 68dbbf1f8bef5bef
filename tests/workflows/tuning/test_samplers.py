"""Every sampler that a tune section may name climbs a hill, and asks the same when asked again."""

from __future__ import annotations

import optuna
import pytest

from threedrs_workflows.grid.tune_section import SamplerName, TuneSection
from threedrs_workflows.tuning.samplers import make_sampler

PEAK = 0.3


def climb(name: SamplerName, trials: int = 20) -> list[float]:
    """Positions of the trials on a hill with its top at PEAK."""
    section = TuneSection(space={"x": {"float": [0.0, 1.0]}}, metric="m", sampler=name)
    study = optuna.create_study(direction="maximize")
    asked = []
    for number in range(trials):
        study.sampler = make_sampler(section, number)
        trial = study.ask()
        # Two settings, for CMA-ES knows no single one.
        x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
        study.tell(trial, -((x - PEAK) ** 2) - (y - PEAK) ** 2)
        asked.append(x)
    assert study.best_value > -0.1
    return asked


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "gp"])
def test_a_sampler_nears_the_top_and_repeats_itself(name: SamplerName) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = climb(name)
    assert first == climb(name)
    assert len(set(first)) > 10
