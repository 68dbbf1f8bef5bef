"""Plots of a study of tuning as plain values: Plotly's traces and layouts, for pages and files.

Parallel coordinates are drawn with plain lines: Plotly's own trace for them needs WebGL and code
generation, which the policy of the dashboards' pages forbids. Points carry the number of their
trial as `customdata`, by which the pages light up the same trials everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from threedrs_platform.database.trials import StudyView, TrialRow

PLAIN, BEST, FAINT = "#2f6db3", "#c2571a", "#465069"
MOST_LINES = 300
"""More cannot be told apart; the best ones are drawn, the table has all."""
GROUPS = (
    ("worst fifth", "#c9d3df", 1, "dot"),
    ("fourth", "#a5b8cc", 1, "solid"),
    ("middle", "#6f93b8", 1, "solid"),
    ("second", PLAIN, 2, "solid"),
    ("best fifth", BEST, 2, "solid"),
)
"""Name, colour, width and dash of each group of trials in parallel coordinates."""
BEST_WIDTH = 4
"""Of the best trial's own line: with few trials its fifth may be empty."""
SLICES_PER_ROW = 3
MOST_TICKS = 20
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
"""Of arms, so that colour is not all that tells them apart."""


@dataclass(frozen=True)
class StudyFigure:
    """One plot with the table that it shows."""

    name: str
    """Unique among the figures of one metric."""
    title: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    header: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    summary: str
    """What can be seen, in words."""
    height: int = 380
    """Pixels."""


def study_figures(study: StudyView, metric: int) -> list[StudyFigure]:
    """All plots for one of a study's metrics; none before a trial is complete."""
    if not study.complete:
        return []
    count = len(study.facts.metrics)
    figures = [_history(study, metric)]
    if study.importance.get(study.facts.metrics[metric]):
        figures.append(_importance(study, metric))
    if count > 1:
        figures.append(_front(study, metric, (metric + 1) % count))
    figures += [_slices(study, metric), _parallel(study, metric)]
    if study.facts.watched:
        figures.append(_curves(study))
    return figures


def params_text(params: Mapping[str, Any]) -> str:
    """Settings on one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def _history(study: StudyView, metric: int) -> StudyFigure:
    """Every trial's value in the order they were asked for, and the best so far."""
    name, done = study.facts.metrics[metric], study.complete
    numbers, values = [t.number for t in done], [t.values[metric] for t in done]
    best = list(accumulate(values, max if study.is_higher_better(metric) else min))
    pruned = study.counts.get("pruned", 0)
    early = f" {pruned} trials ended early, before they had a value." if pruned else ""
    return StudyFigure(
        "history",
        f"History of {name}",
        [
            _markers("complete", numbers, values, done, "circle", PLAIN),
            _best_marker(study, metric, [t.number for t in study.ranked(metric)[:1]]),
            {"type": "scatter", "mode": "lines", "name": "best so far", "x": numbers, "y": best,
             "line": {"shape": "hv", "color": BEST}},
        ],
        _counted(_axis_titles("trial", name), len(study.trials)),
        ("trial", "state", name),
        [(t.number, t.state, t.values[metric] if t.values else None) for t in study.trials],
        f"Best of {len(done)} complete trials: {best[-1]:.4g}.{early}",
    )  # fmt: skip


def arm_titles(studies: Sequence[StudyView]) -> list[str]:
    """Short names of the arms of one search: what the grid calls them; else the first setting, and
    what most arms do not have."""
    usual = {
        path: Counter(str(study.facts.arm.get(path)) for study in studies).most_common(1)[0][0]
        for study in studies
        for path in study.facts.arm
    }
    titles = []
    for study in studies:
        told = [
            f"{path}={value}"
            for place, (path, value) in enumerate(study.facts.arm.items())
            if place == 0 or str(value) != usual[path]
        ]
        titles.append(study.facts.label or ", ".join(told) or study.name)
    return titles


def arms_figure(studies: Sequence[StudyView], metric: str) -> StudyFigure:
    """The best so far of several arms by the number of complete trials, a step line each.

    Args:
        studies: arms of one search.
        metric: that all of them measure.
    """
    titles = arm_titles(studies)
    traces: list[dict[str, Any]] = []
    rows: list[tuple[object, ...]] = []
    for number, (study, title) in enumerate(zip(studies, titles, strict=True)):
        index = study.facts.metrics.index(metric)
        values = [trial.values[index] for trial in study.complete]
        best = list(accumulate(values, max if study.is_higher_better(index) else min))
        rows += [
            (study.name, place, *pair)
            for place, pair in enumerate(zip(values, best, strict=True), 1)
        ]
        line = {"shape": "hv", "dash": DASHES[number % len(DASHES)], "width": 2.5}
        traces.append({"type": "scatter", "mode": "lines+markers", "name": title,
                       "x": list(range(1, len(best) + 1)), "y": best, "line": line})  # fmt: skip
    most = max((len(trace["x"]) for trace in traces), default=0)
    ends = [(trace["name"], trace["y"][-1]) for trace in traces if trace["y"]]
    is_better = max if studies[0].is_higher_better(studies[0].facts.metrics.index(metric)) else min
    most_of_all = is_better((value for _, value in ends), default=0.0)
    equal = [title for title, value in ends if value == most_of_all]
    said = f"{', '.join(equal)} ({most_of_all:.4g}{' each' if len(equal) > 1 else ''})"
    end = said if ends else "none yet"
    return StudyFigure(
        "arms", f"Best {metric} so far, arm by arm", traces,
        {**_counted(_axis_titles("complete trials", metric), most), "showlegend": True},
        ("study", "complete_trials", "value", "best"), rows,
        f"Each arm after as many complete trials. Best at the end: {end}.", 480,
    )  # fmt: skip


def _importance(study: StudyView, metric: int) -> StudyFigure:
    """Share of the variance that each setting explains."""
    name = study.facts.metrics[metric]
    shares = study.importance[name]
    first, *_ = names = list(shares)
    upwards = names[::-1]  # Plotly draws the first bar at the bottom
    return StudyFigure(
        "importance",
        f"What {name} depends on",
        [{"type": "bar", "orientation": "h", "y": upwards, "x": [shares[n] for n in upwards]}],
        {
            "yaxis": {"automargin": True, "ticklabelstandoff": 6},
            "xaxis": {"title": {"text": "share of the variance"}, "tickformat": ".0%"},
        },
        ("setting", "share"),
        list(shares.items()),
        f"{first} explains most: {shares[first]:.0%} of the variance between "
        f"{len(study.complete)} trials (fANOVA). With few trials this is rough.",
        160 + 30 * len(names),
    )


def _front(study: StudyView, first: int, second: int) -> StudyFigure:
    """Two metrics against each other, the trials that no other beats in every metric marked."""
    metrics, done = study.facts.metrics, study.complete
    best = {trial.number for trial in study.best}
    beaten = [trial for trial in done if trial.number not in best]
    front = sorted(study.best, key=lambda trial: trial.values[first])

    def points(name: str, trials: Sequence[TrialRow], symbol: str, colour: str) -> dict[str, Any]:
        xs, ys = ([trial.values[index] for trial in trials] for index in (first, second))
        return _markers(name, xs, ys, trials, symbol, colour)

    return StudyFigure(
        "front",
        "Pareto front",
        [
            points("dominated", beaten, "circle-open", FAINT),
            {**points("front", front, "diamond", BEST), "mode": "lines+markers"},
        ],
        _axis_titles(metrics[first], metrics[second]),
        ("trial", metrics[first], metrics[second], "on_front"),
        [(t.number, t.values[first], t.values[second], t.number in best) for t in done],
        f"{len(front)} of {len(done)} trials are beaten by no other in every metric.",
        440,
    )


def _slices(study: StudyView, metric: int) -> StudyFigure:
    """The metric over each setting by itself; later trials are darker."""
    name, done, settings = study.facts.metrics[metric], study.complete, study.settings
    rows = math.ceil(len(settings) / SLICES_PER_ROW)
    grid = {"rows": rows, "columns": min(len(settings), SLICES_PER_ROW), "pattern": "independent"}
    traces, layout = [], dict[str, Any](grid=grid, showlegend=False)
    for place, path in enumerate(settings, start=1):
        values = [trial.params.get(path) for trial in done]
        axis = coordinate_axis(path, values, study.facts.space.get(path, ""))
        xs = [str(value) for value in values] if axis.places else values
        dots = _markers(path, xs, [t.values[metric] for t in done], done, "circle", PLAIN)
        # The scale begins below the first number, whose dot would be white on white.
        dots["marker"] |= {"color": [t.number for t in done], "colorscale": "Blues", "cmin": -5}
        dots["marker"]["line"] = {"color": PLAIN, "width": 1}
        axes = str(place) if place > 1 else ""  # Plotly counts x, x2, x3
        best = study.ranked(metric)[:1]
        place_of_best = [trial.params.get(path) for trial in best]
        marked = _best_marker(
            study, metric, map(str, place_of_best) if axis.places else place_of_best
        )
        for trace in (dots, marked):
            traces.append({**trace, "xaxis": f"x{axes}", "yaxis": f"y{axes}"})
        kind = "category" if axis.places else "log" if axis.is_log else "linear"
        layout[f"xaxis{axes}"] = {"title": {"text": path}, "type": kind, **_ticks(axis)}
        layout[f"yaxis{axes}"] = {"title": {"text": name if place % SLICES_PER_ROW == 1 else ""}}
    header, table = _settings_table(study, metric, done)
    text = (
        f"{name} over each setting, whatever the others were; later trials are darker, the best "
        "one is an orange diamond."
    )
    return StudyFigure(
        "slices", "Each setting by itself", traces, layout, header, table, text, 90 + 260 * rows
    )


def _ticks(axis: CoordinateAxis) -> dict[str, str]:
    """At 1, 2 and 5 of each decade, where a logarithmic axis has few: Plotly labels all nine."""
    return {"dtick": "D2"} if axis.is_log and axis.high / axis.low < 100 else {}


def _parallel(study: StudyView, metric: int) -> StudyFigure:
    """One vertical axis per setting, one line per trial, in five groups from worst to best."""
    name, settings = study.facts.metrics[metric], study.settings
    ranked = study.ranked(metric)
    shown = ranked[:MOST_LINES]
    axes = [
        coordinate_axis(path, [t.params.get(path) for t in shown], study.facts.space.get(path, ""))
        for path in settings
    ]
    axes.append(coordinate_axis(name, [trial.values[metric] for trial in shown]))
    cut = f" The best {MOST_LINES} are drawn." if len(ranked) > MOST_LINES else ""
    header, table = _settings_table(study, metric, ranked)
    return StudyFigure(
        "parallel",
        f"Settings of all complete trials, best by {name} in orange",
        list(_lines(shown, axes, settings, metric)),
        {
            "xaxis": {
                "tickvals": list(range(len(axes))),
                "ticktext": [*(path.replace(".", ".<br>") for path in settings), name],
                "tickangle": 0,
                "automargin": True,
                "range": [-0.3, len(axes) - 0.7],
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "margin": {"l": 64, "r": 16, "t": 70, "b": 56},
            "yaxis": {"visible": False, "range": [-0.08, 1.08]},
            "annotations": list(_axis_marks(axes)),
        },
        header,
        table,
        f"One line per trial from setting to setting, the last axis is {name}.{cut}",
        460,
    )


def _curves(study: StudyView) -> StudyFigure:
    """The curve that pruning looks at, of complete and of pruned trials."""
    name = study.facts.watched.lstrip("-")
    sign = -1 if study.facts.watched.startswith("-") else 1  # Optuna was told the negative
    rows: list[tuple[object, ...]] = []
    traces = []
    for state, colour in (("complete", PLAIN), ("pruned", BEST)):
        xs: list[int | None] = []
        ys: list[float | None] = []
        numbers: list[int | None] = []
        for trial in study.trials:
            if trial.state == state:
                points = [(step, sign * each) for step, each in sorted(trial.intermediate.items())]
                rows += [(trial.number, state, step, value) for step, value in points]
                xs += [*(step for step, _ in points), None]  # None parts one line from the next
                ys += [*(value for _, value in points), None]
                numbers += [*(trial.number for _ in points), None]
        # Markers, because a box selects none of a bare line.
        line = {"type": "scatter", "mode": "lines+markers", "name": state, "x": xs, "y": ys,
                "marker": {"size": 4, "color": colour}, "customdata": numbers}  # fmt: skip
        traces.append({**line, "line": {"color": colour, "width": 1}})
    return StudyFigure(
        "curves",
        f"Curves of {name}",
        traces,
        _counted(_axis_titles("training step", name), study.facts.training_steps),
        ("trial", "state", "step", name),
        rows,
        "One line per trial; pruned ones end early.",
    )


@dataclass(frozen=True)
class CoordinateAxis:
    """One setting, or the metric, stretched to 0 .. 1."""

    name: str
    places: Mapping[Any, float]
    """Value as text -> height; empty for a numeric axis."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False

    def place(self, value: Any) -> float | None:
        """Height of a value; None where the trial has none."""
        if value is None:
            return None
        if self.places:
            return self.places[str(value)]
        low, high, at = self.low, self.high, float(value)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.5

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Heights with their labels."""
        if self.places:
            return [(height, text) for text, height in self.places.items()]
        return [(0.0, f"{self.low:.3g}"), (1.0, f"{self.high:.3g}")]


def coordinate_axis(name: str, values: Sequence[Any], searched: str = "") -> CoordinateAxis:
    """An axis over the values that occur.

    Logarithmic where they were searched so ("0.1 to 10, log") or span two orders.
    """
    present = [value for value in values if value is not None]
    numeric = all(isinstance(each, int | float) and not isinstance(each, bool) for each in present)
    if present and numeric:
        low, high = min(present), max(present)
        is_log = low > 0 and (searched.endswith(", log") or high / low >= 100)
        return CoordinateAxis(name, {}, low, high, is_log)
    texts = sorted({str(value) for value in present})
    steps = max(len(texts) - 1, 1)
    return CoordinateAxis(name, {text: index / steps for index, text in enumerate(texts)})


def _lines(
    best_first: Sequence[TrialRow],
    axes: Sequence[CoordinateAxis],
    settings: Sequence[str],
    metric: int,
) -> Iterator[dict[str, Any]]:
    """One trace per group, its lines parted by gaps; the best group is drawn last, on top."""
    count = len(best_first)
    for group, (name, colour, width, dash) in enumerate(GROUPS):
        rank = len(GROUPS) - 1 - group
        mine = best_first[rank * count // len(GROUPS) : (rank + 1) * count // len(GROUPS)]
        if count < len(GROUPS):  # too few to speak of fifths
            name, colour, mine = "other trials", PLAIN, best_first[1:] if rank == 0 else ()
        if mine:
            line = {"color": colour, "width": width, "dash": dash}
            yield _polyline(name, mine, axes, settings, metric, line)
    best = {"color": BEST, "width": BEST_WIDTH}
    yield _polyline("best", best_first[:1], axes, settings, metric, best)


def _polyline(
    name: str,
    trials: Sequence[TrialRow],
    axes: Sequence[CoordinateAxis],
    settings: Sequence[str],
    metric: int,
    line: Mapping[str, Any],
) -> dict[str, Any]:
    """Lines of some trials, parted by gaps; a box around dots finds them."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    numbers: list[int | None] = []
    for trial in trials:
        values = [*(trial.params.get(path) for path in settings), trial.values[metric]]
        xs += [*range(len(axes)), None]
        ys += [*(axis.place(value) for axis, value in zip(axes, values, strict=True)), None]
        texts += [f"trial {trial.number}: {value}" for value in [*values, ""]]
        numbers += [*(trial.number for _ in axes), None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": xs,
        "y": ys,
        "line": line,
        "marker": {"size": 5, "color": line["color"]},
        "text": texts,
        "hoverinfo": "text",
        "customdata": numbers,
    }


def _axis_marks(axes: Sequence[CoordinateAxis]) -> Iterator[dict[str, Any]]:
    """Values beside each axis."""
    for index, axis in enumerate(axes):
        for height, text in axis.marks:
            place = {"x": index, "y": height, "xanchor": "left", "xshift": 4, "showarrow": False}
            background = "rgba(255,255,255,0.8)"
            yield {**place, "text": text, "bgcolor": background, "font": {"size": 11}}


def _markers(
    name: str,
    xs: Sequence[Any],
    ys: Sequence[float],
    trials: Iterable[TrialRow],
    symbol: str,
    colour: str,
) -> dict[str, Any]:
    """A dot per trial that tells its settings."""
    shown = list(trials)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": xs,
        "y": ys,
        "text": [f"trial {trial.number}: {params_text(trial.params)}" for trial in shown],
        "customdata": [trial.number for trial in shown],
        "marker": {"symbol": symbol, "size": 9, "color": colour},
    }


def _best_marker(study: StudyView, metric: int, xs: Iterable[Any]) -> dict[str, Any]:
    """The best trial, however many there are, over whatever a plot's axis shows."""
    best = study.ranked(metric)[:1]
    ys = [trial.values[metric] for trial in best]
    dot = _markers("best", list(xs), ys, best, "diamond", BEST)
    dot["marker"]["size"] = 12
    return dot


def _settings_table(
    study: StudyView, metric: int, trials: Iterable[TrialRow]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows: number, settings and value of each trial."""
    settings = study.settings
    rows = [
        (trial.number, *(trial.params.get(path) for path in settings), trial.values[metric])
        for trial in trials
    ]
    return ("trial", *settings, study.facts.metrics[metric]), rows


def _axis_titles(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}


def _counted(layout: dict[str, Any], count: int) -> dict[str, Any]:
    """A horizontal axis of whole numbers: Plotly would put halves between a few of them."""
    step = {"dtick": 1} if count <= MOST_TICKS else {"tickformat": "d"}
    return {**layout, "xaxis": {**layout["xaxis"], **step}}
