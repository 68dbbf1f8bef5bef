# ruff: noqa: A005  (a verb is named by its file)
"""`workflows trace`: a number back to its steps, code, inputs and attempts."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from typing import Any

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.acceptances import Acceptance
from threedrs_platform.database.connection import Database
from threedrs_platform.database.lineage import AttemptRow, TracedStep, lineage
from threedrs_platform.database.measurements import CellResult, Measurement
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import duration, emit
from threedrs_workflows.cli.run_arguments import RUN_HELP
from threedrs_workflows.cli.run_cells import cells_called, of_seed

SUMMARY = "where a number comes from: steps, code digests, inputs, attempts"

EXAMPLES = """\
examples:
  workflows trace teacher=vggt:scanrefer/acc@0.25    this metric of the cell, under every seed
  workflows trace teacher=vggt --seed 1              all steps of the cell
"""

SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Trace:
    """One cell and seed, the number if one was asked for, and the steps behind it."""

    cell: CellResult
    measurement: Measurement | None
    steps: tuple[TracedStep, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument("cell", metavar="CELL[:METRIC]", help="a cell's id, name or label")
    parser.add_argument("--run", metavar="RUN", help=f"whose cell: {RUN_HELP}")
    parser.add_argument("--seed", type=int, metavar="N", help="only this seed; default: all")


def run(args: argparse.Namespace) -> int:
    """Print the traces."""
    name, _, metric = args.cell.partition(":")
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        results = Results(workspace.database)
        found = results.run_results(results.find_run(args.run).run_id)
        cells = cells_called(found, name)
        if args.seed is not None:
            cells = of_seed(cells, args.seed)
        traces = [trace(workspace.database, cell, metric) for cell in cells]
    content = {"run": found.run.run_id, "traces": [_content(each) for each in traces]}
    emit(args, content, "\n\n".join(_text(each) for each in traces))
    return 0


def trace(database: Database, cell: CellResult, metric: str) -> Trace:
    """The steps behind a metric, or behind all of the cell.

    Raises:
        ConfigError: the cell has finished without this metric, or never had it.
    """
    if not metric:
        ends = [step.key for step in cell.steps]
        return Trace(cell, None, _joined(lineage(database, key) for key in ends))
    measurement = cell.measurements.get(metric)
    if measurement is None and cell.missing_reason:
        return Trace(cell, None, ())
    if measurement is None:
        hint = did_you_mean(metric, cell.measurements)
        raise ConfigError([Fault(f"{cell.title} seed {cell.seed} has no metric {metric!r}{hint}")])
    return Trace(cell, measurement, lineage(database, measurement.step_key))


def _joined(lines: Any) -> tuple[TracedStep, ...]:
    """Several lineages as one, inputs first, each step once."""
    found: dict[str, TracedStep] = {}
    for line in lines:
        for step in line:
            found.setdefault(step.key, step)
    return tuple(found.values())


def _content(each: Trace) -> dict[str, Any]:
    metric = each.measurement
    return {
        "cell": each.cell.title,
        "cell_id": each.cell.cell_id,
        "seed": each.cell.seed,
        "params": dict(each.cell.params),
        "metric": None if metric is None else asdict(metric.metric),
        "measured_by": None if metric is None else metric.step_key,
        "missing": each.cell.missing_reason,
        "steps": [asdict(step) for step in each.steps],
    }


def _text(each: Trace) -> str:
    lines = [f"{each.cell.title} seed {each.cell.seed} ({each.cell.cell_id})"]
    if each.measurement is not None:
        metric = each.measurement.metric
        interval = f" [{metric.ci95[0]:g}, {metric.ci95[1]:g}]" if metric.ci95 else ""
        lines[0] += f": {metric.name} = {metric.value:g} {metric.unit}{interval}, n {metric.n}"
    elif not each.steps:
        lines.append(f"  missing: {each.cell.missing_reason}")
    names = {step.key: _name(step) for step in each.steps}
    for step in each.steps:
        lines += _step_lines(step, names)
    return "\n".join(lines)


def _step_lines(step: TracedStep, names: dict[str, str]) -> list[str]:
    reads = ", ".join(
        f"{name} <- {names.get(key, key[:SHOWN_DIGITS])}" for name, key in step.inputs.items()
    )
    lines = [
        f"  {_name(step)}: {step.state}",
        f"    output {_short(step.output_digest)}   code {_short(step.code)}",
    ]
    if reads:
        lines.append(f"    reads {reads}")
    if step.acceptance is not None:
        lines.append(_acceptance_line(step.acceptance))
    tries = [_attempt_line(attempt, step.canonical_attempt) for attempt in step.attempts]
    if not tries and step.acceptance is None:
        tries = ["    no attempt: taken over from a step that did the same work"]
    return [*lines, *tries]


def _acceptance_line(acceptance: Acceptance) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(acceptance.accepted_at))
    return (
        f"    accepted, not computed: results of step {_short(acceptance.source)} by code "
        f"{_short(acceptance.old_code)} stand for it "
        f"({acceptance.accepted_by}, {when}: {acceptance.why})"
    )


def _short(digest: str | None) -> str:
    return (digest or "-")[:SHOWN_DIGITS]


def _attempt_line(attempt: AttemptRow, canonical: int | None) -> str:
    took = f" in {duration(attempt.seconds)}" if attempt.seconds is not None else ""
    where = f" on {attempt.node}" if attempt.node else ""
    kept = ", its output counts" if attempt.n == canonical else ""
    why = f": {attempt.message.splitlines()[0]}" if attempt.message else ""
    return f"    attempt {attempt.n} {attempt.state}{took}{where} (run {attempt.run_id}){kept}{why}"


def _name(step: TracedStep) -> str:
    label = f" {step.label}" if step.label else ""
    return f"{step.kind}{label} {step.key[:SHOWN_DIGITS]}"
