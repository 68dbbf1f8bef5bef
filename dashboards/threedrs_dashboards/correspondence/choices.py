"""What a URL of the Correspondence page asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from threedrs_dashboards.choices import HEADLINES
from threedrs_dashboards.correspondence.scores import finished_steps
from threedrs_dashboards.defaults import first_cells
from threedrs_dashboards.paging import Paging, paging
from threedrs_dashboards.query import choice, text
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.answers import scored_metrics
from threedrs_dashboards.viewer.cells import (
    PROBE,
    TEACHER_PROBE,
    CellChoice,
    choose_cell,
    choose_seed,
    list_cells,
)
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.database.measurements import RunSummary

SCORE = "score"
"""Role of the step that holds the benchmarks' per-sample scores."""
RAW_SCORE = "probe/score"
CELLS_PER_PAGE = 12
UNITS = ("sample", "scene")

Steps = Mapping[tuple[str, int], Mapping[str, str]]


@dataclass(frozen=True)
class Choices:
    """Which cells, which score, against which metric, and whose samples one by one."""

    run: RunSummary
    shown: tuple[CellChoice, ...]
    """One page of cells that have correspondence scores."""
    with_scores: tuple[CellChoice, ...]
    without_scores: tuple[CellChoice, ...]
    paging: Paging
    find: str
    steps: Steps
    scores: Mapping[str, str]
    """Score -> unit."""
    score: str
    metrics: Mapping[str, str]
    """Metric -> unit."""
    metric: str
    cell: CellChoice
    against: CellChoice
    seed: int
    unit: Literal["sample", "scene"]

    def keys(self, cell: CellChoice, role: str) -> dict[int, str]:
        """Seed -> key of a finished step of a cell."""
        found = {seed: self.steps.get((cell.cell_id, seed), {}).get(role) for seed in cell.seeds}
        return {seed: key for seed, key in found.items() if key is not None}

    @property
    def score_unit(self) -> str:
        """Of the score."""
        return self.scores.get(self.score, "")

    @property
    def metric_unit(self) -> str:
        """Of the metric; empty for none."""
        return self.metrics.get(self.metric, "")


def choices(request: Request, store: Store) -> Choices:
    """Everything a URL says, filled in.

    Raises:
        ConfigError: it names what the run does not have.
    """
    run = store.run(text(request, "run"))
    known = list_cells(store.database, run.run_id)
    steps = finished_steps(store.database, run.run_id, (PROBE, SCORE, TEACHER_PROBE))
    with_scores = [cell for cell in known if _seeds(cell, steps)]
    if not with_scores:
        raise Missing(
            f"no cell of run {run.run_id} has correspondence scores yet; step 'probe' makes them"
        )
    find = text(request, "find")
    fitting = [cell for cell in with_scores if find.lower() in cell.title.lower()]
    pages = paging(request, "cells", len(fitting), CELLS_PER_PAGE)
    first = first_cells(store, run.run_id)
    probed = {cell.cell_id: cell for cell in with_scores}
    reference = probed.get(first.reference if first else "", with_scores[0])
    against = _cell(known, steps, text(request, "against"), reference, run.run_id)
    others = [each for each in fitting if each != against]
    ours = probed.get(first.ours if first else "")
    if ours not in others:  # not probed, or not among those that were searched for
        ours = next(iter(others), against)
    cell = _cell(known, steps, text(request, "cell"), ours or against, run.run_id)
    scores = scored_metrics(store.database, _keys(steps, PROBE))
    metrics = scored_metrics(store.database, _keys(steps, SCORE))
    headline = next((name for name in HEADLINES if name in metrics), "")
    return Choices(
        run=run,
        shown=tuple(fitting[pages.first : pages.last]),
        with_scores=tuple(with_scores),
        without_scores=tuple(each for each in known if each not in with_scores),
        paging=pages,
        find=find,
        steps=steps,
        scores=scores,
        score=choice(request, "score", tuple(scores), RAW_SCORE if RAW_SCORE in scores else ""),
        metrics=metrics,
        metric=choice(request, "metric", tuple(metrics), headline),
        cell=cell,
        against=against,
        seed=choose_seed(request, _seeds(cell, steps), with_scores),
        unit="scene" if choice(request, "unit", UNITS) == "scene" else "sample",
    )


def _keys(steps: Steps, role: str) -> list[str]:
    return [roles[role] for roles in steps.values() if role in roles]


def _seeds(cell: CellChoice, steps: Steps) -> list[int]:
    """Seeds of a cell that have correspondence scores."""
    return [seed for seed in cell.seeds if PROBE in steps.get((cell.cell_id, seed), {})]


def _cell(
    known: Sequence[CellChoice], steps: Steps, wanted: str, default: CellChoice, run_id: str
) -> CellChoice:
    cell = choose_cell(known, wanted, run_id) if wanted else default
    if not _seeds(cell, steps):
        raise Missing(f"{cell.title} has no correspondence scores: it is blind, or not probed yet")
    return cell
