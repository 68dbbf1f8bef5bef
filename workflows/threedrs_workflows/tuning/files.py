"""Files that a tuning run leaves beside its studies: the best settings, all trials, plots."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plotly.io import to_html

from threedrs_components.report.study_figures import study_figures
from threedrs_platform.database.studies import tuning_folder
from threedrs_platform.database.trials import StudyView
from threedrs_platform.storage import write_atomically
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.tune_arms import Tuning
from threedrs_workflows.tuning.best_grid import best_grid


@dataclass(frozen=True)
class TuningFiles:
    """Where they are."""

    grid: Path | None
    """The best settings; None while no trial was completed in some arm."""
    trials: Path
    plots: Path


def write_files(workspace: Workspace, tuning: Tuning, studies: Sequence[StudyView]) -> TuningFiles:
    """Write down what all arms have found."""
    folder = tuning_folder(workspace.root, tuning.run)
    grid, trials, plots = folder / "best.yaml", folder / "trials.csv", folder / "plots.html"
    is_found = all(study.best for study in studies)
    if is_found:
        write_atomically(grid, best_grid(tuning, studies).encode())
    else:  # one from trials that are out of date by now would pass for today's
        grid.unlink(missing_ok=True)
    write_atomically(trials, trials_csv(studies).encode())
    write_atomically(plots, plots_page(f"Tuning {tuning.run}", studies).encode())
    return TuningFiles(grid if is_found else None, trials, plots)


def trials_csv(studies: Sequence[StudyView]) -> str:
    """All arms' trials, one per line."""
    arms = list(dict.fromkeys(path for study in studies for path in study.facts.arm))
    settings = list(dict.fromkeys(path for study in studies for path in study.facts.space))
    metrics = studies[0].facts.metrics
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*arms, "trial", "state", *metrics, *settings, "seconds", "cell", "best", "reason"]
    )
    for study in studies:
        best = {row.number for row in study.best}
        for row in study.trials:
            writer.writerow(
                [
                    *(study.facts.arm.get(path, "") for path in arms),
                    row.number,
                    row.state,
                    *(row.values or [""] * len(metrics)),
                    *(row.params.get(path, "") for path in settings),
                    row.seconds if row.seconds is not None else "",
                    row.cell_id,
                    int(row.number in best),
                    row.reason,
                ]
            )
    return text.getvalue()


def plots_page(title: str, studies: Sequence[StudyView]) -> str:
    """The plots of all arms as one HTML page that needs no network."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    style = "<style>body{font-family:sans-serif;max-width:70rem;margin:2rem auto}</style>"
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *_plots(studies)])
    return f'<!doctype html><html lang="en"><head>{head}{style}</head><body>{body}</body></html>\n'


def _plots(studies: Sequence[StudyView]) -> Iterator[str]:
    is_first = True
    for study in studies:
        yield f"<h2>{html.escape(study.facts.arm_name)}</h2>"
        notes = (*study.ties(), *study.edges(), *study.notes())
        yield from (f"<p>{html.escape(note)}</p>" for note in notes)
        for metric in range(len(study.facts.metrics)):
            for figure in study_figures(study, metric):
                layout = {"title": {"text": figure.title}, "height": figure.height}
                plot: dict[str, Any] = {
                    "data": figure.traces,
                    "layout": {**layout, **figure.layout},
                }
                # The library, 4 MB, is written once, into the first plot.
                yield to_html(plot, full_html=False, include_plotlyjs=is_first, validate=False)
                yield f"<p>{html.escape(figure.summary)}</p>"
                is_first = False
