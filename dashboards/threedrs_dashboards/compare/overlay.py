"""Training curves of the arms in one plot: a colour and a dash per arm, over steps."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from threedrs_dashboards.cell.curves import DASHES, CurveName, Curves, Line
from threedrs_dashboards.charts import INK, Chart
from threedrs_dashboards.compare.arms import Arm
from threedrs_dashboards.compare.at_step import TRAINING
from threedrs_dashboards.tables import Table

CURVES_AT_FIRST = 4
LOSS = "loss"
"""What training minimises; its terms are called `loss/TERM`."""


def shared_names(curves: Curves, arms: Sequence[Arm]) -> list[CurveName]:
    """Curves that any arm has logged: losses of the training first, of these what all arms have.

    A total comes behind its terms where arms sum different ones.
    """
    by_arm = [_names(curves, arm) for arm in arms]
    unlike = len({terms for names in by_arm if (terms := _terms(names))}) > 1

    def place(name: CurveName) -> tuple[bool, bool, bool]:
        is_loss = name.name.startswith(LOSS)
        lone = unlike and (name.name == LOSS or any(name not in names for names in by_arm))
        return name.role != TRAINING, not is_loss, lone

    return sorted(dict.fromkeys(name for names in by_arm for name in names), key=place)


def unlike_sums(curves: Curves, arms: Sequence[Arm]) -> str:
    """What to know before totals are compared: each arm's terms; "" where they are the same."""
    terms = {arm.title: _terms(_names(curves, arm)) for arm in arms}
    known = {title: each for title, each in terms.items() if each}
    if len(set(known.values())) < 2:
        return ""
    told = "; ".join(f"{title}: {', '.join(sorted(each))}" for title, each in known.items())
    return f"The loss sums other terms in these cells ({told}); compare the terms that all have."


def _names(curves: Curves, arm: Arm) -> list[CurveName]:
    return curves.names([(step.key, step.role) for cell in arm.replicates for step in cell.steps])


def _terms(names: Sequence[CurveName]) -> frozenset[str]:
    begin = f"{LOSS}/"
    return frozenset(
        name.name.removeprefix(begin)
        for name in names
        if name.role == TRAINING and name.name.startswith(begin)
    )


def overlay_chart(
    curves: Curves,
    arms: Sequence[Arm],
    curve: CurveName,
    index: int,
    seed: int | None,
    step: int | None = None,
) -> Chart:
    """One curve of every arm.

    Args:
        curve: which.
        index: of the chart on the page.
        seed: the one that is shown; None draws the mean over seeds, and each of them faintly.
        step: of the training, marked by a line; None marks none.
    """
    lines = {
        arm.name: curves.lines(
            [cell for cell in arm.replicates if seed is None or cell.seed == seed], curve
        )
        for arm in arms
    }
    traces: list[dict[str, Any]] = []
    for number, arm in enumerate(arms):
        found = lines[arm.name]
        if len(found) > 1:
            traces += [_trace(arm, number, dict(line.points), line) for line in found]
        mean = _mean(found)
        if mean:
            traces.append(_trace(arm, number, mean))
    without = [arm.title for arm in arms if not lines[arm.name]]
    said = "Means over seeds, with each seed faintly." if seed is None else f"Seed {seed}."
    if without:
        said += f" Nothing is logged by: {', '.join(without)}."
    return Chart(
        name=f"curve{index}",
        title=str(curve),
        traces=traces,
        table=lambda: _table(curves, arms, curve),
        summary=said,
        layout={
            "xaxis": {"title": {"text": "training step"}},
            "yaxis": {"title": {"text": curve.name}},
            "showlegend": True,
            "meta": curve.role,  # static/compare.js moves the line of the training's curves alone
            "shapes": [] if step is None or curve.role != TRAINING else [_mark(step)],
        },
        height=340,
        names=[curve.name],
    )


def _mark(step: int) -> dict[str, Any]:
    """A line across the plot at a step."""
    line = {"color": INK, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": step, "x1": step, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _trace(
    arm: Arm, number: int, points: Mapping[int, float | None], line: Line | None = None
) -> dict[str, Any]:
    """The mean of an arm; or one of its seeds, faintly and without a line in the legend."""
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": arm.title,
        "legendgroup": arm.name,
        "x": list(points),
        "y": list(points.values()),
        "line": {"color": arm.colour, "dash": DASHES[number % len(DASHES)], "width": 2.5},
    }
    if line is not None:
        trace["name"] = f"{arm.title}, seed {line.seed}"
        trace |= {"opacity": 0.3, "showlegend": False}
        trace["line"] = {**trace["line"], "width": 1}
    return trace


def _mean(lines: Sequence[Line]) -> dict[int, float]:
    """Step -> mean over the seeds, where all of them have it: one that lags would bend it."""
    values: dict[int, list[float]] = {}
    for line in lines:
        for step, value in line.points:
            if value is not None:
                values.setdefault(step, []).append(value)
    whole = {step: each for step, each in values.items() if len(each) == len(lines)}
    return {step: statistics.fmean(each) for step, each in sorted(whole.items())}


def _table(curves: Curves, arms: Sequence[Arm], curve: CurveName) -> Table:
    rows = [
        (arm.run.run_id, arm.title, line.seed, step, value)
        for arm in arms
        for line in curves.lines(arm.replicates, curve, most=None)
        for step, value in line.points
    ]
    return Table(("run", "cell", "seed", "step", str(curve)), rows)
