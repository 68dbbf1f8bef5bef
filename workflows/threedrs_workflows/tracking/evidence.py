"""What MLflow shows of a run beside its numbers: notes, tags, data, answers, and the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from threedrs_components.report.render import render
from threedrs_components.scenes.registry import open_scenes
from threedrs_platform.database.measurements import CellResult, RunResults, StepSummary
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError
from threedrs_platform.tracking.evidence import Checkpoint, DatasetFacts, Evidence, Table
from threedrs_platform.tracking.places import TO_PAGES
from threedrs_platform.workspace import Workspace
from threedrs_workflows.reports.run_report import report_files, run_report

MOST_METRICS = 24
"""Numbers that a cell's note shows; the rest are metrics of the run."""
SPLITS_FILE = "splits.json"
JUDGING = ("score", "probe")
"""Steps whose numbers are about the trained student."""
PAGES = "http://127.0.0.1:8365"
"""Where `workflows ui` shows the dashboards, unless --port says otherwise."""


def pages_link(page: str, **words: str) -> str:
    """A page of the dashboards in Markdown; it answers while `workflows ui` runs."""
    return f"{TO_PAGES}{PAGES}/{page}?{urlencode(words)}) (while `workflows ui` runs)"


class RunEvidence(Evidence):
    """Evidence read from a workspace; an artifact that is gone is a `ThreedrsError`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def run_files(self, run_id: str) -> Mapping[str, str]:
        """The grid, the resolved cells, the report in every format, the plots."""
        return report_files(self._workspace.database, run_id)

    def run_note(self, results: RunResults) -> str:
        """The table of results; what to read it with."""
        run = results.run
        head = f"Submission of grid **{run.name}** (`{run.grid_file}`): {run.state}."
        try:
            table = render(run_report(self._workspace.database, run.run_id), "md")
        except ConfigError as error:
            table = f"No table: {error}"
        pages = pages_link("table", run=run.run_id)
        there = f"{pages}; on a terminal: `workflows results {run.run_id}`."
        if any(cell.params.get("held_out") for cell in results.cells):
            search = pages_link("tuning", run=run.run_id)
            there = f"{there}\n\nIts cells are trials of `workflows tune`: {search}."
        return f"{head}\n\nThe same on {there}\n\n{table}"

    def cell_tags(self, cell: CellResult) -> Mapping[str, str]:
        """Student, teacher, scenes, seed, and what the cell is called."""
        params = cell.params
        scenes = params.get("scenes")
        named = {
            "student": params.get("student"),
            "teacher": params.get("teacher"),
            "scenes": scenes.get("kind") if isinstance(scenes, Mapping) else None,
            "cell": cell.title,
            "seed": cell.seed,
            "tuning": "yes" if params.get("held_out") else None,
        }
        return {key: str(value) for key, value in named.items() if value is not None}

    def cell_note(self, results: RunResults, cell: CellResult) -> str:
        """Name, headline numbers, where everything came from."""
        lines = [f"**{cell.title}**, seed {cell.seed}", ""]
        if cell.name != cell.title:
            lines += [f"`{cell.name}`", ""]
        if cell.missing_reason:
            lines += [f"Not complete: {cell.missing_reason}", ""]
        if cell.params.get("held_out"):
            lines += [
                f"A trial of tuning: measured on the {cell.params['held_out']:.0%} of the training "
                "scenes that were held out, comparable to other trials only.",
                "",
            ]
        lines += _metric_lines(cell)
        where = f"`workflows trace {cell.cell_id}`"
        run_id = results.run.run_id
        pages = pages_link("cell", run=run_id, cell=cell.cell_id, seed=str(cell.seed))
        there = f"Its samples, curves and scenes: {pages}."
        behind = f"Code, data and weights behind these numbers: {where}."
        return "\n".join([*lines, "", behind, "", there])

    def datasets(self, cell: CellResult) -> Sequence[DatasetFacts]:
        """What the cell was trained on and evaluated on."""
        steps = {step.role: step for step in cell.steps}
        scenes, samples = steps.get("scenes"), steps.get("samples")
        if scenes is None or samples is None or not scenes.output_digest:
            return ()
        kind = str((cell.params.get("scenes") or {}).get("kind", "scenes"))
        split = str((cell.params.get("benchmarks") or {}).get("split", "val"))
        evaluated = "held-out" if cell.params.get("held_out") else split
        counts = _split_sizes(self._folder(scenes))
        source = f"{self._workspace.store_address.url}/{scenes.output_digest}"
        return [
            DatasetFacts(
                name=f"{kind} {name}",
                digest=samples.output_digest or scenes.output_digest,
                context=context,
                source=source,
                profile={"samples": _count(cell, context, asked), **counts},
            )
            for name, context, asked in (
                ("train", "training", "samples/train"),
                (evaluated, "evaluation", "samples/evaluation"),
            )
            if context == "evaluation" or "finetune" in steps
        ]

    def tables(self, cell: CellResult) -> Iterator[tuple[str, Table]]:
        """What was asked and answered, by benchmark; with pictures for a few."""
        steps = {step.role: step for step in cell.steps}
        scenes, samples, predict = (steps.get(role) for role in ("scenes", "samples", "predict"))
        if cell.params.get("held_out") or not (scenes and samples and predict):
            return
        from threedrs_workflows.tracking.answer_tables import answer_tables  # brings torch

        yield from answer_tables(
            open_scenes(self._folder(scenes), cell.params["scenes"]),
            self._folder(samples),
            self._folder(predict),
            self._scores(cell),
        )

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        """The finetuned student; where nothing is trained there is none to keep, and trials of
        tuning keep theirs to themselves."""
        step = next((each for each in cell.steps if each.role == "finetune"), None)
        if step is None or step.output_digest is None or cell.params.get("held_out"):
            return None
        folder = self._folder(step)
        config = folder / "config.json"
        kind = json.loads(config.read_text()).get("kind", "") if config.is_file() else ""
        return Checkpoint(
            folder,
            step.output_digest,
            str(kind),
            partial(_write_pretrained, folder) if kind else None,
        )

    def _folder(self, step: StepSummary) -> Path:
        assert step.output_digest is not None
        return self._workspace.store.checkout(step.output_digest)

    def _scores(self, cell: CellResult) -> dict[str, dict[str, float]]:
        """Metric -> sample -> score, for metrics over all samples of a benchmark."""
        results = Results(self._workspace.database)
        found = {
            name: results.sample_scores(measurement)
            for name, measurement in cell.measurements.items()
            if name.count("/") == 1 and not name.startswith("probe")
        }
        return {name: scores for name, scores in found.items() if scores}


def _write_pretrained(student: Path, out: Path) -> None:
    from threedrs_components.students.export import write_pretrained  # brings torch

    write_pretrained(student, out)


def _metric_lines(cell: CellResult) -> list[str]:
    """What the student was judged by, over all samples, as a Markdown table."""
    judging = {step.key for step in cell.steps if step.role in JUDGING}
    rows = [
        f"| {name} | {each.metric.value:.4g} | {each.metric.n} |"
        for name, each in cell.measurements.items()
        if each.step_key in judging and name.count("/") == 1
    ][:MOST_METRICS]
    return ["| metric | value | n |", "|---|---:|---:|", *rows] if rows else []


def _split_sizes(scenes: Path) -> dict[str, Any]:
    file = scenes / SPLITS_FILE
    if not file.is_file():
        return {}
    return {f"scenes {split}": len(names) for split, names in json.loads(file.read_text()).items()}


def _count(cell: CellResult, context: str, name: str) -> int | None:
    measurement = cell.measurements.get(name)
    return None if measurement is None else int(measurement.metric.value)
