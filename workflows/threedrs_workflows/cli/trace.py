# ruff: noqa: A005  (a verb is named by its file)
"""`workflows trace`: a number back to its grid, commit, settings, steps, inputs and attempts."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.acceptances import Acceptance
from threedrs_platform.database.connection import Database
from threedrs_platform.database.lineage import AttemptRow, TracedStep, lineage
from threedrs_platform.database.measurements import CellResult, Measurement
from threedrs_platform.database.results import Results
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import duration, emit
from threedrs_workflows.cli.run_arguments import RUN_HELP
from threedrs_workflows.cli.run_cells import cells_called, of_seed

SUMMARY = "where a number comes from: grid, commit, settings, steps, code, inputs, attempts"

EXAMPLES = """\
examples:
  workflows trace teacher=vggt:scanrefer/acc@0.25    this metric of the cell, under every seed
  workflows trace teacher=vggt --seed 1              all steps of the cell
"""

SHOWN_DIGITS = 12
FLAGS = ("smoke", "sets", "where", "until", "only", "refresh")
"""Options of `workflows submit` that decide what a run computes."""


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
        asked = workspace.runs.get(found.run.run_id)
    varying = _varying(found.cells)
    content = {**_run_content(asked), "traces": [_content(each, varying) for each in traces]}
    lines = "\n\n".join(_text(each, varying) for each in traces)
    emit(args, content, f"{_run_text(asked)}\n\n{lines}")
    return 0


def _run_content(run: RunRow) -> dict[str, Any]:
    """What was submitted, when, and of which code."""
    options = run.options
    return {
        "run": run.id,
        "grid": run.grid_file,
        "grid_yaml": run.grid_yaml,
        "flags": {name: options[name] for name in FLAGS if options.get(name)},
        "commit": options.get("commit") or None,
        "note": options.get("note") or None,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }


def _run_text(run: RunRow) -> str:
    told = _run_content(run)
    flags = "".join(_flag(name, value) for name, value in told["flags"].items())
    lines = [
        f"run {run.id}, submitted {_when(run.created_at)}, {run.state}",
        f"  grid {run.grid_file}{flags}   commit {told['commit'] or 'unknown'}",
    ]
    return "\n".join(lines + ([f"  note {told['note']}"] if told["note"] else []))


def _flag(name: str, value: Any) -> str:
    """As it was typed."""
    if isinstance(value, bool):
        return f" --{name}"
    values = value if isinstance(value, list) else [value]
    return "".join(f" --{name.removesuffix('s')} {quote(str(each))}" for each in values)


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _varying(cells: Sequence[CellResult]) -> list[str]:
    """Settings that every cell of a run has, and not all of them alike."""
    known = [cell.settings for cell in cells if cell.settings]
    shared = set.intersection(*map(set, known)) if known else set()
    return sorted(name for name in shared if any(s[name] != known[0][name] for s in known))


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


def _content(each: Trace, varying: Sequence[str]) -> dict[str, Any]:
    metric = each.measurement
    return {
        "cell": each.cell.title,
        "cell_id": each.cell.cell_id,
        "seed": each.cell.seed,
        "params": dict(each.cell.params),
        "varying": {name: each.cell.settings.get(name) for name in varying},
        "metric": None if metric is None else asdict(metric.metric),
        "measured_by": None if metric is None else metric.step_key,
        "missing": each.cell.missing_reason,
        "steps": [asdict(step) for step in each.steps],
    }


def _text(each: Trace, varying: Sequence[str]) -> str:
    lines = [f"{each.cell.title} seed {each.cell.seed} ({each.cell.cell_id})"]
    if each.measurement is not None:
        metric = each.measurement.metric
        interval = f" [{metric.ci95[0]:g}, {metric.ci95[1]:g}]" if metric.ci95 else ""
        lines[0] += f": {metric.name} = {metric.value:g} {metric.unit}{interval}, n {metric.n}"
    elif not each.steps:
        lines.append(f"  missing: {each.cell.missing_reason}")
    lines.append(_settings_line(each.cell.settings, varying))
    names = {step.key: _name(step) for step in each.steps}
    for step in each.steps:
        lines += _step_lines(step, names)
    return "\n".join(lines)


def _settings_line(settings: Mapping[str, Any], varying: Sequence[str]) -> str:
    """Those by which cells of the run differ; there are a hundred others."""
    own = ", ".join(f"{name}={settings[name]}" for name in varying)
    rest = f"--json has all {len(settings)}"
    return f"  settings {own} ({rest})" if own else f"  settings as in the grid ({rest})"


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
    when = _when(acceptance.accepted_at)
    return (
        f"    accepted, not computed: results of step {_short(acceptance.source)} by code "
        f"{_short(acceptance.old_code)} stand for it "
        f"({acceptance.accepted_by}, {when}: {acceptance.why})"
    )


def _short(digest: str | None) -> str:
    return (digest or "-")[:SHOWN_DIGITS]


def _attempt_line(attempt: AttemptRow, canonical: int | None) -> str:
    at = f" {_when(attempt.started_at)}" if attempt.started_at is not None else ""
    took = f" in {duration(attempt.seconds)}" if attempt.seconds is not None else ""
    where = f" on {attempt.node}" if attempt.node else ""
    kept = ", its output counts" if attempt.n == canonical else ""
    why = f": {attempt.message.splitlines()[0]}" if attempt.message else ""
    what = f"attempt {attempt.n} {attempt.state}{at}{took}{where}"
    return f"    {what} (run {attempt.run_id}){kept}{why}"


def _name(step: TracedStep) -> str:
    label = f" {step.label}" if step.label else ""
    return f"{step.kind}{label} {step.key[:SHOWN_DIGITS]}"
