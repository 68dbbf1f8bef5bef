"""What mattered in a study: one measure for the command line, the dashboards and the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from threedrs_platform.database.studies import StudyFacts

if TYPE_CHECKING:
    from optuna import Study

FEWEST_TRIALS = 4
"""Fewer complete trials say nothing about what mattered."""
SEED = 0
"""Of the random forest: the same trials give the same shares everywhere."""


def importances(study: Study) -> dict[str, Mapping[str, float]]:
    """Metric -> setting -> share of the variance between complete trials, largest first (fANOVA,
    Hutter et al. 2014). A metric of which the trials cannot tell is left out.
    """
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return {
        name: _shares(study, index)
        for index, name in enumerate(StudyFacts.of(study).metrics)
        if len(done) >= FEWEST_TRIALS and len({trial.values[index] for trial in done}) > 1
    }


def _shares(study: Study, index: int) -> Mapping[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study,
        evaluator=FanovaImportanceEvaluator(seed=SEED),
        target=lambda trial: float(trial.values[index]),
    )
