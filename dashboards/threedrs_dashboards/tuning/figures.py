"""Plots of a study: history, importance, Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from threedrs_dashboards.charts import COLOURS, Chart
from threedrs_dashboards.tables import Table
from threedrs_dashboards.tuning.study import StudyView
from threedrs_platform.database.studies import TrialRow


def history_chart(study: StudyView, metric: int) -> Chart:
    """Every trial's value in the order they were asked for, and the best so far."""
    name = study.facts.metrics[metric]
    done = study.complete
    best = list(_best_so_far([trial.values[metric] for trial in done], study, metric))
    pruned = study.states.get("pruned", 0)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "complete",
            "x": [trial.number for trial in done],
            "y": [trial.values[metric] for trial in done],
            "text": [params_text(trial.params) for trial in done],
            "marker": {"symbol": "circle", "size": 9, "color": COLOURS[0]},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": [trial.number for trial in done],
            "y": best,
            "line": {"shape": "hv", "color": COLOURS[1]},
        },
    ]
    rows = [
        (trial.number, trial.state, trial.values[metric] if trial.values else None)
        for trial in study.trials
    ]
    told = f"Best of {len(done)} complete trials: {best[-1]:.4g}." if best else "No trial yet."
    told += f" {pruned} trials ended early, before they had a value." if pruned else ""
    return Chart(
        name="history",
        title=f"History of {name}",
        traces=traces,
        table=Table(("trial", "state", name), rows),
        summary=told,
        layout=_axes("trial", name),
    )


def _best_so_far(values: Sequence[float], study: StudyView, metric: int) -> Iterator[float]:
    better = max if study.is_higher_better(metric) else min
    best: float | None = None
    for value in values:
        best = value if best is None else better(best, value)
        yield best


def importance_chart(study: StudyView, metric: int) -> Chart | None:
    """Share of the variance that each setting explains; None where the trials cannot tell."""
    metric_name = study.facts.metrics[metric]
    shares = study.importances.get(metric_name)
    if not shares:
        return None
    names = list(shares)
    return Chart(
        name="importance",
        title=f"What mattered for {metric_name}",
        traces=[
            {
                "type": "bar",
                "orientation": "h",
                "y": names[::-1],
                "x": [shares[name] for name in names[::-1]],
            }
        ],
        table=Table(("setting", "share"), list(shares.items())),
        summary=f"{names[0]} explains most: {shares[names[0]]:.0%} of the variance between "
        f"{len(study.complete)} trials (fANOVA). With few trials this is rough.",
        layout={"yaxis": {"automargin": True}, "xaxis": {"title": {"text": "share"}}},
        height=160 + 30 * len(names),
    )


def front_chart(study: StudyView, first: int, second: int) -> Chart:
    """Two metrics against each other, the trials that no other beats in both marked."""
    metrics = study.facts.metrics
    done = study.complete
    on_front = sorted(
        (trial for trial in done if trial.number in study.front),
        key=lambda trial: trial.values[first],
    )
    others = [trial for trial in done if trial.number not in study.front]
    traces = [
        _pairs("dominated", others, first, second, "circle-open", COLOURS[5], "markers"),
        _pairs("front", on_front, first, second, "diamond", COLOURS[1], "lines+markers"),
    ]
    rows = [
        (trial.number, trial.values[first], trial.values[second], trial.number in study.front)
        for trial in done
    ]
    return Chart(
        name="front",
        title="Pareto front",
        traces=traces,
        table=Table(("trial", metrics[first], metrics[second], "on_front"), rows),
        summary=f"{len(on_front)} of {len(done)} trials are beaten by no other in every metric.",
        layout=_axes(metrics[first], metrics[second]),
        height=440,
    )


def _pairs(
    name: str,
    trials: Sequence[TrialRow],
    first: int,
    second: int,
    symbol: str,
    colour: str,
    mode: str,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": [trial.values[first] for trial in trials],
        "y": [trial.values[second] for trial in trials],
        "text": [f"trial {trial.number}: {params_text(trial.params)}" for trial in trials],
        "marker": {"symbol": symbol, "size": 10, "color": colour},
    }


def params_text(params: Mapping[str, Any]) -> str:
    """Settings on one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
