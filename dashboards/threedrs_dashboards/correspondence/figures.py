"""Plots of the Correspondence page, each with its data and its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from threedrs_components.probing.quartiles import Quartiles, SampleQuartiles
from threedrs_components.report.comparison import Difference
from threedrs_components.report.metric_words import readable
from threedrs_dashboards.charts import COLOURS, SYMBOLS, Chart, whiskers, whole_numbers
from threedrs_dashboards.correspondence.gains import gain_words
from threedrs_dashboards.correspondence.scores import SamplePoint
from threedrs_dashboards.correspondence.study import (
    Scored,
    distribution,
    histogram,
    quartiles,
)
from threedrs_dashboards.tables import Table

BASELINE, CELL, TEACHER = "#8d96a5", "#14833b", "#6b5300"
QUARTILES = ("Q1", "Q2", "Q3", "Q4")
LEGEND_LINE = 12
"""Pixels of a chart's height that each line's name takes, where two stand beside each other."""
PERCENT = {"range": [-7, 107], "tickvals": [0, 20, 40, 60, 80, 100]}
"""An axis of percentages, with room for points that are drawn apart."""
SPREAD = 0.05
"""Share of the distance between neighbouring values by which equal points are drawn apart."""


def labelled(name: str, unit: str) -> str:
    """A metric on an axis: "ScanQA: exact match (%)"."""
    return f"{readable(name)} ({unit})" if unit else readable(name)


def spread_chart(cells: Sequence[Scored], score: str, unit: str = "") -> Chart:
    """One box per cell: 5, 25, 50, 75 and 95 % of the scenes, and the mean."""
    rows = [(cell, found) for cell in cells if (found := distribution(cell)) is not None]
    columns = ("low", "first", "median", "third", "high", "mean")
    numbers = {name: [getattr(found, name) for _, found in rows] for name in columns}
    trace = {
        "type": "box",
        "orientation": "h",
        "y": [cell.title for cell, _ in rows],
        "lowerfence": numbers["low"],
        "q1": numbers["first"],
        "median": numbers["median"],
        "q3": numbers["third"],
        "upperfence": numbers["high"],
        "mean": numbers["mean"],
        "marker": {"color": CELL},
        "line": {"width": 1.5},
        "showlegend": False,
    }
    header = ("cell_id", "cell", "scenes", "p5", "p25", "median", "p75", "p95", "mean")
    table = [
        (cell.cell_id, cell.title, found.scenes, *(getattr(found, name) for name in columns))
        for cell, found in rows
    ]
    return Chart(
        "spread",
        f"How the {readable(score)} spreads over scenes",
        [trace],
        Table(header, table),
        "One value per scene, averaged over seeds. Boxes: 25 to 75 % with the median; whiskers: "
        "5 to 95 %; dashed: mean.",
        {
            "xaxis": {"title": {"text": labelled(score, unit)}},
            "yaxis": {"autorange": "reversed", "automargin": True, "ticklabelstandoff": 6},
        },
        height=170 + 34 * len(rows),
        names=[score],
    )


def before_after_chart(
    cells: Sequence[Scored],
    baseline: Scored,
    score: str,
    found: Mapping[str, Difference],
    unit: str = "",
) -> Chart:
    """Figure 3b: the score before (baseline) and after, side by side per cell.

    Args:
        cells: those that are shown.
        baseline: what they are compared with.
        score: the metric.
        found: differences to the baseline, by cell id.
        unit: of the score.
    """
    after = [cell for cell in cells if cell.cell_id != baseline.cell_id and cell.over_seeds]
    titles = [cell.title for cell in after]
    traces: list[dict[str, object]] = [
        _bars(f"before: {baseline.title}", titles, [baseline] * len(after), BASELINE),
        _bars("after", titles, after, CELL),
    ]
    taught = [cell for cell in after if cell.teacher is not None]
    if taught:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "the teacher's own features",
                "x": [cell.teacher for cell in taught],
                "y": [cell.title for cell in taught],
                "marker": {"symbol": "diamond", "size": 11, "color": TEACHER},
            }
        )
    header = (
        "cell_id", "cell", "before", "after", "after_sd_over_seeds", "seeds",
        "difference", "ci_low", "ci_high", "scenes", "teacher",
    )  # fmt: skip
    told = {cell.cell_id: found[cell.cell_id] for cell in after if cell.cell_id in found}
    rows = [_gain_row(cell, baseline, told.get(cell.cell_id)) for cell in after]
    return Chart(
        "gain",
        f"The {readable(score)} before and after",
        traces,
        Table(header, rows),
        "Means over scenes and seeds; lines: standard deviation over seeds. "
        + gain_words(told, {cell.cell_id: cell.title for cell in after}, baseline.title),
        {
            "barmode": "group",
            "xaxis": {"title": {"text": labelled(score, unit)}},
            "yaxis": {"autorange": "reversed", "automargin": True, "ticklabelstandoff": 6},
        },
        height=200 + 52 * len(after),
        names=[score],
    )


def _bars(
    name: str, titles: Sequence[str], cells: Sequence[Scored], colour: str
) -> dict[str, object]:
    found = [cell.over_seeds for cell in cells]
    return {
        "type": "bar",
        "name": name,
        "orientation": "h",
        "x": [each.mean if each else None for each in found],
        "y": list(titles),
        "error_x": whiskers([each.sd if each else None for each in found]),
        "marker": {"color": colour},
    }


def _gain_row(cell: Scored, baseline: Scored, found: Difference | None) -> tuple[object, ...]:
    after, before = cell.over_seeds, baseline.over_seeds
    both = found.both if found else None
    low, high = both.interval if both and both.interval else (None, None)
    common = cell.scores.keys() & baseline.scores.keys()
    return (
        cell.cell_id, cell.title, before.mean if before else None,
        after.mean if after else None, after.sd if after else None, len(cell.seeds),
        both.difference if both else None, low, high, len(common), cell.teacher,
    )  # fmt: skip


def quartile_chart(cells: Sequence[Scored], score: str, metric: str, unit: str) -> Chart:
    """Figure 2: the metric by quartile of the scenes' score, one line per cell."""
    rows = [(cell, found) for cell in cells if (found := quartiles(cell)) is not None]
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": cell.title,
            "x": list(QUARTILES),
            "y": list(found.means),
            "customdata": [
                list(each) for each in zip(found.mean_scores, found.counts, strict=True)
            ],
            "hovertemplate": "%{x}: %{y:.2f}<br>mean score %{customdata[0]:.3f}, "
            "%{customdata[1]} scenes",
            "line": {"color": COLOURS[index % len(COLOURS)]},
            "marker": {"symbol": _symbol(index), "size": 9},
        }
        for index, (cell, (found, _)) in enumerate(rows)
    ]
    return Chart(
        "quartiles",
        f"{readable(metric)}, by quartile of the {readable(score)}",
        traces,
        Table(QUARTILE_HEADER, [_quartile_row(cell, *found) for cell, found in rows]),
        "Scenes of each cell in four groups by their score, Q1 lowest; means over scenes. The "
        "table also has the paper's: samples in four groups, means over samples. "
        + _trend_words(rows),
        {
            "xaxis": {"title": {"text": f"quartile of the {readable(score)}"}},
            "yaxis": {"title": {"text": labelled(metric, unit)}},
        },
        height=400 + LEGEND_LINE * len(rows),
        names=[metric, score],
    )


def _symbol(index: int) -> str:
    """Another one for a colour that comes again."""
    return SYMBOLS[(index + index // len(COLOURS)) % len(SYMBOLS)]


QUARTILE_HEADER = (
    "cell_id", "cell", *QUARTILES, *(f"{name}_scenes" for name in QUARTILES),
    "spearman", "spearman_p", "trend", "trend_p", "verdict",
    *(f"{name}_of_samples" for name in QUARTILES), *(f"{name}_samples" for name in QUARTILES),
)  # fmt: skip


def _quartile_row(cell: Scored, found: Quartiles, by_sample: SampleQuartiles) -> tuple[object, ...]:
    return (
        cell.cell_id, cell.title, *found.means, *found.counts, found.spearman, found.p_value,
        found.trend, found.trend_p_value, found.verdict, *by_sample.means, *by_sample.counts,
    )  # fmt: skip


def _trend_words(rows: Sequence[tuple[Scored, tuple[Quartiles, SampleQuartiles]]]) -> str:
    counts: dict[str, int] = {}
    for _, (found, _) in rows:
        counts[found.verdict] = counts.get(found.verdict, 0) + 1
    told = ", ".join(f"{verdict} in {number}" for verdict, number in counts.items())
    return (
        f"As the score rises, over scenes (p < .05): {told} of {len(rows)} cells." if told else ""
    )


def histogram_chart(cell: Scored, baseline: Scored, score: str, unit: str = "") -> Chart:
    """Scenes per bin of the score for one cell and the baseline."""
    shown = [baseline] if cell.cell_id == baseline.cell_id else [baseline, cell]
    edges, counts = histogram(shown)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    traces = [
        {
            "type": "bar",
            "name": each.title,
            "x": middles,
            "y": numbers.tolist(),
            "width": float(edges[1] - edges[0]),
            "opacity": 0.65,
            "marker": {"color": colour},
        }
        for each, numbers, colour in zip(shown, counts, (BASELINE, CELL), strict=False)
    ]
    columns = zip(
        edges[:-1].tolist(), edges[1:].tolist(), *(n.tolist() for n in counts), strict=True
    )
    header = ("from", "to", *(each.title for each in shown))
    return Chart(
        "histogram",
        f"Scenes by {readable(score)}",
        traces,
        Table(header, list(columns)),
        f"Scenes of {' and '.join(each.title for each in shown)} per interval of the score.",
        {
            "barmode": "overlay",
            "xaxis": {"title": {"text": labelled(score, unit)}},
            "yaxis": {"title": {"text": "scenes"}, **whole_numbers(max(map(max, counts)))},
        },
        names=[score],
    )


def scatter_chart(
    title: str,
    points: Sequence[SamplePoint],
    links: Sequence[str],
    names: tuple[str, str],
    units: tuple[str, str],
    note: str,
) -> Chart:
    """One point per sample or scene; a click opens it in the viewer.

    Args:
        title: of the plot.
        points: what is drawn.
        links: URL of each.
        names: of the score and of the metric.
        units: of both.
        note: how many of how many.
    """
    labels = [labelled(*each) for each in zip(names, units, strict=True)]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [point.score for point in points],
        "y": drawn_apart([point.value for point in points]),
        "text": [point.sample_id for point in points],
        "customdata": [[point.scene_id, point.value] for point in points],
        "hovertemplate": f"%{{text}}<br>{labels[0]} %{{x:.3f}}<br>{labels[1]} "
        "%{customdata[1]:.4g}<extra></extra>",
        "marker": {"size": 7, "opacity": 0.5, "color": CELL},
        "showlegend": False,
    }
    rows = [
        (point.sample_id, point.scene_id, point.score, point.value, link)
        for point, link in zip(points, links, strict=True)
    ]
    return Chart(
        "scatter",
        title,
        [trace],
        Table(("sample", "scene", *names, "link"), rows),
        note,
        {
            "xaxis": {"title": {"text": labels[0]}},
            "yaxis": {
                "title": {"text": labels[1]},
                **(PERCENT if units[1] == "%" and is_within(points) else {}),
            },
        },
        height=420,
        names=names,
    )


def is_within(points: Sequence[SamplePoint]) -> bool:
    """Whether all values lie between 0 and 100: CIDEr, which is given in %, may exceed it."""
    return all(0 <= point.value <= 100 for point in points)


def drawn_apart(values: Sequence[float]) -> list[float]:
    """Values that many points share, moved up and down a little so that each can be seen.

    Right or wrong answers would otherwise be two lines. Values of which most are different stay.
    """
    levels = sorted(set(values))
    if len(levels) < 2 or len(levels) > len(values) / 5:
        return list(values)
    gap = min(after - before for before, after in pairwise(levels))
    golden = 0.6180339887
    return [
        value + gap * SPREAD * (2 * ((index * golden) % 1.0) - 1)
        for index, value in enumerate(values)
    ]
