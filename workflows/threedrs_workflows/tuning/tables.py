"""Trials as tables for a terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from threedrs_platform.database.studies import TrialRow
from threedrs_workflows.cli.output import columns
from threedrs_workflows.tuning.outcome import ArmOutcome


def outcome_text(outcome: ArmOutcome) -> str:
    """One arm: its trials, the best, and what mattered."""
    facts = outcome.facts
    counts = ", ".join(f"{count} {state}" for state, count in sorted(outcome.counts.items()))
    head = f"{facts.arm_name}: {len(outcome.trials)} of {facts.trials} trials ({counts})"
    price = (
        f"each {facts.training_steps} training steps, seeds {list(facts.seeds)}; "
        f"measured on the {facts.held_out:.0%} of the training scenes that are held out"
    )
    parts = [head, price, "", _trial_table(outcome), "", *_best_lines(outcome)]
    for name, shares in outcome.importance.items():
        listed = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
        parts.append(f"what {name} depends on: {listed}")
    if not outcome.importance:
        parts.append("what it depends on: too few completed trials, or all are equal")
    return "\n".join(parts)


def trials_csv(outcomes: Sequence[ArmOutcome]) -> str:
    """All arms' trials, one per line."""
    settings = _union([list(outcome.facts.space) for outcome in outcomes])
    arms = _union([list(outcome.facts.arm) for outcome in outcomes])
    metrics = list(outcomes[0].facts.metrics) if outcomes else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*arms, "trial", "state", *metrics, *settings, "seconds", "cell", "best", "reason"]
    )
    for outcome in outcomes:
        best = {row.number for row in outcome.best}
        for row in outcome.trials:
            values: list[Any] = list(row.values) or [""] * len(metrics)
            writer.writerow(
                [
                    *(outcome.facts.arm.get(path, "") for path in arms),
                    row.number,
                    row.state,
                    *values,
                    *(row.params.get(path, "") for path in settings),
                    row.seconds if row.seconds is not None else "",
                    row.cell_id,
                    int(row.number in best),
                    row.reason,
                ]
            )
    return text.getvalue()


def _trial_table(outcome: ArmOutcome) -> str:
    facts = outcome.facts
    best = {row.number for row in outcome.best}
    head = ["", "trial", "state", *facts.metrics, *facts.space, "seconds", ""]
    rows = [
        [
            "*" if row.number in best else "",
            row.number,
            row.state,
            *(f"{value:.4g}" for value in row.values or ()),
            *([""] * (len(facts.metrics) - len(row.values))),
            *(_short(row.params.get(path)) for path in facts.space),
            "" if row.seconds is None else f"{row.seconds:.0f}",
            row.reason,
        ]
        for row in outcome.trials
    ]
    return columns([head, *rows])


def _best_lines(outcome: ArmOutcome) -> list[str]:
    if not outcome.best:
        return ["no trial was completed"]
    what = "best" if len(outcome.facts.metrics) == 1 else "Pareto front"
    return [f"{what}: {_line(row, outcome)}" for row in outcome.best]


def _line(row: TrialRow, outcome: ArmOutcome) -> str:
    values = [f"{n} {v:.4g}" for n, v in zip(outcome.facts.metrics, row.values, strict=True)]
    settings = [f"{path}={_short(value)}" for path, value in row.params.items()]
    return f"trial {row.number}: {', '.join(values)} with {', '.join(settings)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _union(lists: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(item for each in lists for item in each))
