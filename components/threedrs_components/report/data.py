"""A report as data: one row per cell and metric for CSV, everything per seed for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from threedrs_components.report.comparison import Difference
from threedrs_components.report.document import Report
from threedrs_components.report.findings import Finding
from threedrs_components.report.quartiles import Trend
from threedrs_components.report.table import Column, Entry, Row

CSV_HEADER = (
    "cell_id", "cell", "metric", "unit", "mean", "sd", "seeds", "seeds_wanted", "n",
    "chance", "majority", "difference", "ci_low", "ci_high", "p", "p_holm", "tests", "p_seeds",
    "p_scenes", "p_scenes_holm", "scenes", "verdict", "missing",
)  # fmt: skip


def csv_rows(report: Report) -> Iterator[tuple[object, ...]]:
    """Header, then one row per cell and metric that the cell measures or should have."""
    yield CSV_HEADER
    for row in report.table.rows:
        for column in report.table.columns:
            entry = row.entries[column.name]
            if entry.is_shown:
                yield _csv_row(
                    row, column, entry, report.differences.get((row.cell_id, column.name))
                )


def _csv_row(row: Row, column: Column, entry: Entry, each: Difference | None) -> tuple[object, ...]:
    both = each.both if each else None
    pairs = each.over_seeds if each else None
    scenes = each.over_scenes if each else None
    low, high = both.interval if both and both.interval else (None, None)
    return (
        row.cell_id, row.title, column.name, column.unit, entry.mean, entry.sd,
        len(entry.values), entry.wanted, "/".join(map(str, entry.n)),
        column.chance, column.majority, both.difference if both else None, low, high,
        both.p if both else None, each.corrected if each else None, each.tests if each else None,
        pairs.p_t if pairs else None,
        scenes.p if scenes else None, each.corrected_scenes if each else None,
        scenes.scenes if scenes else None, each.verdict if each else "",
        "; ".join(f"seed {seed}: {why}" for seed, why in entry.reasons.items()),
    )  # fmt: skip


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; what is not finite is null."""
    table = report.table
    run = table.results.run
    values: dict[str, Any] = finite(
        {
            "run": {"id": run.run_id, "name": run.name, "state": str(run.state)},
            "baseline": table.baseline,
            "metrics": [_column_json(column) for column in table.columns],
            "cells": [row_json(row) for row in table.rows],
            "tests": {"count": len(report.family), "metrics": list(report.family.metrics)},
            "differences": [difference_json(each) for each in report.differences.values()],
            "quartiles": [_trend_json(trend) for trend in report.trends],
            "findings": [_finding_json(finding) for finding in report.findings],
            "notes": list(report.notes),
            "opening": list(report.opening),
        }
    )
    return values


def _column_json(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "unit": column.unit,
        "n": list(column.n),
        "chance": column.chance,
        "majority": column.majority,
    }


def row_json(row: Row) -> dict[str, Any]:
    """One cell with its numbers per seed."""
    return {
        "cell_id": row.cell_id,
        "cell": row.title,
        "params": dict(row.replicates[0].params),
        "seeds": {str(cell.seed): str(cell.state) for cell in row.replicates},
        "metrics": {
            name: {
                "mean": entry.mean,
                "sd": entry.sd,
                "values": {str(seed): value for seed, value in entry.values.items()},
                "seeds_wanted": entry.wanted,
                "n": list(entry.n),
                "missing": {str(seed): why for seed, why in entry.reasons.items()},
            }
            for name, entry in row.entries.items()
            if entry.is_shown
        },
    }


def difference_json(each: Difference) -> dict[str, Any]:
    """One paired difference with its tests: over both sources of chance, and over each alone."""
    both, pairs, scenes = each.both, each.over_seeds, each.over_scenes
    return {
        "cell_id": each.cell_id,
        "metric": each.metric,
        "verdict": each.verdict,
        "tests": each.tests,
        "over_both": both
        and {
            "seeds": both.seeds,
            "scenes": both.scenes,
            "difference": both.difference,
            "ci95": list(both.interval) if both.interval else None,
            "p": both.p,
            "p_holm": each.corrected,
        },
        "over_seeds": pairs
        and {
            "seeds": list(each.seeds),
            "difference": pairs.difference,
            "sd": pairs.sd,
            "ci95": list(pairs.interval) if pairs.interval else None,
            "t": pairs.t,
            "p": pairs.p_t,
        },
        "over_scenes": scenes
        and {
            "scenes": scenes.scenes,
            "samples": scenes.samples,
            "seeds": list(scenes.seeds),
            "difference": scenes.difference,
            "p": scenes.p,
            "p_holm": each.corrected_scenes,
            "left_out": scenes.left_out,
        },
    }


def _trend_json(trend: Trend) -> dict[str, Any]:
    quartiles = trend.quartiles
    return {
        "cell_id": trend.cell_id,
        "metric": trend.metric,
        "seeds": list(trend.seeds),
        "means": list(quartiles.means),
        "counts": list(quartiles.counts),
        "spearman": quartiles.spearman,
        "spearman_p": quartiles.p_value,
        "trend": quartiles.trend,
        "trend_p": quartiles.trend_p_value,
        "of_samples": {
            "means": list(trend.of_samples.means),
            "counts": list(trend.of_samples.counts),
        },
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "claim": finding.claim,
        "verdict": str(finding.verdict),
        "evidence": finding.evidence,
        "caveat": finding.caveat,
    }


def finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
