"""A study as plain values; Optuna is imported when a study is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from threedrs_platform.database.studies import (
    StudyFacts,
    TrialRow,
    importances,
    load_study,
    study_names,
    trial_rows,
)
from threedrs_platform.workspace import Workspace


@dataclass(frozen=True)
class StudyView:
    """One study."""

    name: str
    facts: StudyFacts
    trials: tuple[TrialRow, ...]
    front: frozenset[int]
    """Numbers of the trials that no other trial beats in every metric; of one metric the best."""
    importances: Mapping[str, Mapping[str, float]]
    """Metric -> setting -> share of the variance; without metrics of which the trials cannot tell.
    """

    @property
    def states(self) -> Mapping[str, int]:
        """How many trials are in each state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def complete(self) -> tuple[TrialRow, ...]:
        """Trials with values."""
        return tuple(trial for trial in self.trials if trial.values)

    @property
    def best(self) -> TrialRow | None:
        """The first of the best; None before any trial is complete."""
        return next((trial for trial in self.trials if trial.number in self.front), None)

    def is_higher_better(self, metric: int) -> bool:
        """The direction of a metric."""
        return self.facts.directions[metric] == "maximize"


def read_study(workspace: Workspace, name: str, with_importances: bool = True) -> StudyView:
    """Load a study.

    Raises:
        ConfigError: there is none of this name.
    """
    study = load_study(workspace, name)
    facts = StudyFacts.of(study)
    rows = tuple(trial_rows(study))
    done = [row for row in rows if row.values]
    front = frozenset(trial.number for trial in study.best_trials) if done else frozenset[int]()
    mattered = importances(study) if with_importances else {}
    return StudyView(name, facts, rows, front, mattered)


def all_studies(workspace: Workspace) -> list[StudyView]:
    """Every study of a workspace, without importances."""
    return [read_study(workspace, name, False) for name in study_names(workspace)]
