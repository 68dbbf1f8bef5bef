"""What a tuning run has found: trials, the best of them, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from threedrs_platform.database.studies import StudyFacts, TrialRow, importances, trial_rows


@dataclass(frozen=True)
class ArmOutcome:
    """One arm's trials and what they say."""

    facts: StudyFacts
    trials: tuple[TrialRow, ...]
    best: tuple[TrialRow, ...]
    """The best trial; with several metrics the Pareto front."""
    importance: Mapping[str, Mapping[str, float]]
    """Metric -> setting -> share of what the trials differ by; empty with too few trials."""

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        found: dict[str, int] = {}
        for trial in self.trials:
            found[trial.state] = found.get(trial.state, 0) + 1
        return found


def outcome_of(study: optuna.Study) -> ArmOutcome:
    """Read a study."""
    facts = StudyFacts.of(study)
    rows = tuple(row for row in trial_rows(study) if row.state != "waiting")
    return ArmOutcome(facts, rows, best_trials(rows, facts.directions), importances(study))


def best_trials(rows: Sequence[TrialRow], directions: Sequence[str]) -> tuple[TrialRow, ...]:
    """Trials that no other is better than in every metric; of equal ones the first."""
    complete = [row for row in rows if row.state == "complete"]
    signed = {row.number: _signed(row.values, directions) for row in complete}
    front = [
        row
        for row in complete
        if not any(_beats(signed[other.number], signed[row.number]) for other in complete)
    ]
    kept = {signed[row.number]: row for row in reversed(front)}
    return tuple(sorted(kept.values(), key=lambda row: row.number))


def _signed(values: Sequence[float], directions: Sequence[str]) -> tuple[float, ...]:
    return tuple(
        value if direction == "maximize" else -value
        for value, direction in zip(values, directions, strict=True)
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def outcome_content(outcome: ArmOutcome) -> dict[str, Any]:
    """JSON values of an arm."""
    facts = outcome.facts
    return {
        "arm": dict(facts.arm),
        "metrics": list(facts.metrics),
        "directions": list(facts.directions),
        "budget": {
            "trials": facts.trials,
            "seeds": list(facts.seeds),
            "training_steps": facts.training_steps,
        },
        "counts": outcome.counts,
        "trials": [_trial_content(row, facts) for row in outcome.trials],
        "best": [_trial_content(row, facts) for row in outcome.best],
        "importance": {name: dict(shares) for name, shares in outcome.importance.items()},
    }


def _trial_content(row: TrialRow, facts: StudyFacts) -> dict[str, Any]:
    return {
        "number": row.number,
        "state": row.state,
        "values": dict(zip(facts.metrics, row.values, strict=False)),
        "settings": dict(row.params),
        "cell": row.cell_id,
        "seconds": row.seconds,
        "reason": row.reason,
    }
