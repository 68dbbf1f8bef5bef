"""Plots of a study as one HTML file that needs no network."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna import visualization
from plotly import graph_objects

from threedrs_workflows.tuning.outcome import ArmOutcome


def plots_page(title: str, arms: Sequence[tuple[ArmOutcome, optuna.Study]]) -> str:
    """History, importance, slices and parallel coordinates; a Pareto front for several metrics."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    first: Any = True  # the library is written once, into the first plot
    for outcome, study in arms:
        parts.append(f"<h2>{html.escape(outcome.facts.arm_name)}</h2>")
        for figure in _figures(outcome, study):
            parts.append(figure.to_html(full_html=False, include_plotlyjs=first))
            first = False
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    style = "<style>body{font-family:sans-serif;max-width:70rem;margin:2rem auto}</style>"
    body = "\n".join(parts)
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{body}</body></html>\n'


def _figures(outcome: ArmOutcome, study: optuna.Study) -> list[Any]:
    complete = outcome.counts.get("complete", 0)
    if not complete:
        return []
    metrics = outcome.facts.metrics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figures: list[Any] = []
        if len(metrics) in (2, 3):
            figures.append(visualization.plot_pareto_front(study, target_names=list(metrics)))
        for index, name in enumerate(metrics):
            target = None if len(metrics) == 1 else _value_at(index)
            named: Any = {"target": target, "target_name": name}
            figures.append(visualization.plot_optimization_history(study, **named))
            if outcome.importance.get(name):
                figures.append(_importance(name, outcome.importance[name]))
            figures.append(visualization.plot_slice(study, **named))
            figures.append(visualization.plot_parallel_coordinate(study, **named))
        if outcome.facts.watched:
            figures.append(visualization.plot_intermediate_values(study))
    return figures


def _importance(name: str, shares: Mapping[str, float]) -> graph_objects.Figure:
    settings = sorted(shares, key=lambda setting: shares[setting])
    bars = graph_objects.Bar(x=[shares[each] for each in settings], y=settings, orientation="h")
    return graph_objects.Figure(bars, {"title": {"text": f"What {name} depends on"}})


def _value_at(index: int) -> Callable[[optuna.trial.FrozenTrial], float]:
    return lambda trial: float(trial.values[index])
