"""What `workflows tune` says: the search before it begins, and each arm's trials at its end."""

from __future__ import annotations

from typing import Any

from threedrs_components.report.study_figures import params_text
from threedrs_platform.database.trials import StudyFacts, StudyView, TrialRow
from threedrs_workflows.cli.output import columns
from threedrs_workflows.grid.tune_arms import Tuning


def search_content(tuning: Tuning) -> dict[str, Any]:
    """JSON values of what is searched."""
    section = tuning.section
    return {
        "study": tuning.run,
        "metrics": list(section.metrics),
        "directions": list(section.directions),
        "sampler": section.sampler,
        "pruner": section.pruner,
        "held_out": section.held_out,
        "seeds": list(section.seeds),
        "arms": [
            {
                "arm": dict(arm.values),
                "trials": section.trials,
                "training_steps": arm.experiment.training.steps,
                "space": {each.path: each.words for each in arm.dimensions},
            }
            for arm in tuning.arms
        ],
    }


def search_text(tuning: Tuning) -> str:
    """What is searched, for people."""
    section = tuning.section
    goals = [f"{d} {m}" for m, d in zip(section.metrics, section.directions, strict=True)]
    lines = [
        f"{tuning.run}: {' and '.join(goals)}",
        f"{section.sampler}, pruner {section.pruner}, {section.trials} trials of each arm, "
        f"{section.parallel} at a time, seeds {list(section.seeds)}, "
        f"{section.held_out:.0%} of the annotated training scenes held out",
    ]
    for arm in tuning.arms:
        lines.append(f"\n{arm.title} ({arm.experiment.training.steps} training steps per trial)")
        lines.append(columns([[each.path, each.words] for each in arm.dimensions]))
    return "\n".join(lines)


def outcome_content(study: StudyView) -> dict[str, Any]:
    """JSON values of what an arm has found."""
    facts = study.facts
    return {
        "arm": dict(facts.arm),
        "metrics": list(facts.metrics),
        "directions": list(facts.directions),
        "budget": {
            "trials": facts.trials,
            "seeds": list(facts.seeds),
            "training_steps": facts.training_steps,
        },
        "counts": dict(study.counts),
        "out_of_date": {
            "trials": {str(number): why for number, why in study.out_of_date.items()},
            "left_out": list(study.left_out),
            "study": study.replaces,
        },
        "trials": [_trial_content(row, facts) for row in study.trials],
        "best": [_trial_content(row, facts) for row in study.best],
        "at_the_end_of_a_range": study.edges(),
        "importance": {name: dict(shares) for name, shares in study.importance.items()},
    }


def outcome_text(study: StudyView) -> str:
    """One arm: its trials, the best, and what mattered."""
    facts = study.facts
    counts = ", ".join(f"{count} {state}" for state, count in sorted(study.counts.items()))
    parts = [
        f"{facts.arm_name}: {len(study.trials)} of {facts.trials} trials ({counts})",
        f"each {facts.training_steps} training steps, seeds {list(facts.seeds)}; "
        f"measured on the {facts.held_out:.0%} of the training scenes that are held out",
        *study.notes(),
        "",
        _trial_table(study),
        "",
        *_best_lines(study),
    ]
    for name, shares in study.importance.items():
        listed = ", ".join(f"{key} {share:.2f}" for key, share in shares.items())
        parts.append(f"what {name} depends on: {listed}")
    if not study.importance:
        parts.append("what it depends on: too few completed trials, or all are equal")
    return "\n".join(parts)


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


def _trial_table(study: StudyView) -> str:
    facts = study.facts
    best = {row.number for row in study.best}
    head = ["", "trial", "state", *facts.metrics, *facts.space, "seconds", ""]
    rows = [
        [
            "*" if row.number in best else "",
            row.number,
            row.state,
            *(f"{value:.4g}" for value in row.values),
            *([""] * (len(facts.metrics) - len(row.values))),
            *(_short(row.params.get(path)) for path in facts.space),
            "" if row.seconds is None else f"{row.seconds:.0f}",
            row.reason,
        ]
        for row in study.trials
    ]
    return columns([head, *rows])


def _best_lines(study: StudyView) -> list[str]:
    if not study.best:
        return ["no trial was completed"]
    what = "best" if len(study.facts.metrics) == 1 else "Pareto front"
    return [
        *(f"{what}: {_line(row, study.facts)}" for row in study.best),
        *study.ties(),
        *study.edges(),
    ]


def _line(row: TrialRow, facts: StudyFacts) -> str:
    values = [f"{n} {v:.4g}" for n, v in zip(facts.metrics, row.values, strict=True)]
    return f"trial {row.number}: {', '.join(values)} with {params_text(row.params)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
