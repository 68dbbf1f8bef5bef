"""What a plan will cost, for people and as JSON."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.hashing import size_text
from threedrs_workflows.cli.output import columns

if TYPE_CHECKING:
    from threedrs_workflows.grid.cells import GridCells
    from threedrs_workflows.plan.costs import Assumptions, CellCost, PlanCost
    from threedrs_workflows.plan.sample_counts import DataSet

ROLES = {
    "extract": ("extract", "extract_depth"), "finetune": ("finetune",), "probe": ("probe",),
    "predict": ("predict",),
}  # fmt: skip
"""Columns of GPU-hours, and the steps that each adds up."""
TITLE_WIDTH = 24


def add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    """How fast a GPU is, where nothing has been measured."""
    parser.add_argument(
        "--utilisation",
        type=float,
        default=0.35,
        metavar="SHARE",
        help="of the peak that training reaches, where none ran here before; default: 0.35",
    )
    parser.add_argument(
        "--peak-tflops",
        type=float,
        default=989.0,
        metavar="N",
        help="of one GPU; default: 989, an H100 in bfloat16",
    )


def assumptions_of(args: argparse.Namespace) -> Assumptions:
    """What the flags say.

    Raises:
        ConfigError: a share that is none, or a peak of nothing.
    """
    from threedrs_workflows.plan.costs import Assumptions

    if not 0 < args.utilisation <= 1:
        raise ConfigError([Fault("expected a share: more than 0, at most 1", "--utilisation")])
    if not args.peak_tflops > 0:
        raise ConfigError([Fault("expected more than 0", "--peak-tflops")])
    return Assumptions(args.peak_tflops, args.utilisation)


def cost_content(cost: PlanCost, grid: GridCells) -> dict[str, Any]:
    """All of it as JSON."""
    rate = None if grid.price is None else grid.price.gpu_hour
    content = asdict(cost)
    for told, cell in zip(content["cells"], cost.cells, strict=True):
        told |= {"gpu_hours": cell.gpu_hours, "warnings": cell.warnings}
        told["samples"] = cell.data.samples
        told["price"] = None if rate is None else cell.gpu_hours * rate
    content["price"] = None if rate is None else cost.gpu_hours * rate
    content["currency"] = None if grid.price is None else grid.price.currency
    content["budget_gpu_hours"] = grid.gpu_hours
    return content


def cost_text(cost: PlanCost, grid: GridCells) -> str:
    """What it will cost, in 100 columns; nothing for a plan that trains nothing."""
    if not cost.cells:
        return ""
    lines = ["cost, before anything starts:", *_data(cost.cells)]
    lines += ["", columns(_training_rows(cost.cells)), "", *_memory(cost.cells)]
    if any(cell.gpus for cell in cost.cells):
        lines += ["", columns(_hour_rows(cost.cells, grid)), "", *_total(cost, grid)]
        lines += _marginal(cost, grid)
    lines += _warnings(cost.cells)
    lacks = list(dict.fromkeys(lack for cell in cost.cells for lack in cell.lacks))
    lines += ["not known: " + lack for lack in lacks[:MOST_LACKS]]
    if len(lacks) > MOST_LACKS:
        lines.append(f"not known: {len(lacks) - MOST_LACKS} more, see --json")
    return "\n".join(lines)


MOST_LACKS = 4


def _data(cells: Sequence[CellCost]) -> list[str]:
    """Data sets, once for cells that read the same."""
    lines = []
    for data in dict.fromkeys(cell.data for cell in cells):
        total = "?" if data.samples is None else f"{data.samples:,}"
        lines += _folded(f"  trains on {total} samples:", data.trained)
        lines += _folded("  answers", data.evaluated)
    return lines


def _folded(head: str, sets: Iterable[DataSet]) -> list[str]:
    words = []
    sources: dict[str, None] = {}
    for each in sets:
        count = "?" if each.samples is None else f"{each.samples:,}"
        words.append(f"{each.name} {each.split} {count}")
        sources[each.source] = None
    lines = [head]
    for word in [*(f"{word}," for word in words[:-1]), *words[-1:], f"({', '.join(sources)})"]:
        if len(lines[-1]) + 1 + len(word) > 98:
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def _training_rows(cells: Sequence[CellCost]) -> list[tuple[str, ...]]:
    head = ("CELL", "STEPS x TAKES", "EPOCHS", "WEIGHTS", "LEARN", "TOKENS", "FLOP", "FEATURES")
    rows: list[tuple[str, ...]] = [(*head, "SAVES")]
    for cell in cells:
        takes = f"{cell.scenes_per_step}x{cell.questions_per_scene}"
        rows.append(
            (
                _short(cell.title),
                f"{cell.steps:,} x {takes}" if cell.steps else "none",
                "?" if cell.epochs is None and cell.steps else f"{cell.epochs or 0:.2f}",
                _number(cell.parameters),
                _number(cell.trainable),
                _number(cell.tokens),
                _number(cell.training_flops),
                "" if cell.feature_bytes is None else size_text(cell.feature_bytes),
                "?" if cell.checkpoint_bytes is None else size_text(cell.checkpoint_bytes),
            )
        )
    return rows


def _memory(cells: Sequence[CellCost]) -> list[str]:
    """Per GPU by strategy, of the cell that needs most."""
    known = [cell for cell in cells if cell.memory]
    if not known:
        return []
    cell = max(known, key=lambda each: each.memory[each.strategy])
    shown = [
        f"{strategy.removeprefix('deepspeed_')}{'*' * (strategy == cell.strategy)} "
        f"{size_text(size)}"
        for strategy, size in cell.memory.items()
    ]
    assert cell.activations is not None
    lines = [
        f"  memory per GPU of {_short(cell.title)}, "
        f"{size_text(cell.activations)} of it activations:",
        f"    {', '.join(shown)} (* as set)",
        f"    sizes: {cell.size_source}",
    ]
    if cell.host_memory:
        lines.append(f"    and {size_text(cell.host_memory)} of the host's memory per GPU")
    return lines


def _hour_rows(cells: Sequence[CellCost], grid: GridCells) -> list[tuple[str, ...]]:
    priced = () if grid.price is None else (f"PRICE {grid.price.currency}".strip(),)
    rows: list[tuple[str, ...]] = [
        ("GPU-HOURS, ONE SEED", *(role.upper() for role in ROLES), "ALL", *priced)
    ]
    for cell in cells:
        shown = [_hours(cell, roles) for roles in ROLES.values()]
        money = () if grid.price is None else (f"{cell.gpu_hours * grid.price.gpu_hour:,.0f}",)
        rows.append((_short(cell.title), *shown, f"{cell.gpu_hours:.3g}", *money))
    return rows


def _hours(cell: CellCost, roles: Sequence[str]) -> str:
    steps = [cell.by_step[role] for role in roles if role in cell.by_step]
    mark = "" if all(step.is_measured for step in steps) else "~"
    return f"{sum(step.gpu_hours for step in steps):.3g}{mark}" if steps else ""


def _total(cost: PlanCost, grid: GridCells) -> list[str]:
    done = cost.all_gpu_hours - cost.gpu_hours
    text = f"  to run: about {cost.gpu_hours:.3g} GPU-hours, shared steps once"
    if done > 0:
        text += f" ({done:.3g} more are done already)"
    if grid.price is not None:
        text += f" = {_money(cost.gpu_hours, grid)}"
    lines = [text]
    if grid.gpu_hours is not None:
        word = "enough" if cost.gpu_hours <= grid.gpu_hours else "NOT enough: the run will pause"
        lines.append(f"  budget: {grid.gpu_hours:g} GPU-hours, {word}")
    given = cost.assumptions
    lines.append(
        f"  ~ estimated at {given.utilisation:.0%} of {given.peak_tflops:g} TFLOPS, answers at "
        f"{given.decoding:.0%}; {cost.measured} steps as measured here"
    )
    return lines


def _marginal(cost: PlanCost, grid: GridCells) -> list[str]:
    if not cost.marginal or not cost.gpu_hours:
        return []
    lines = ["  without this value the plan would take less by:"]
    for path, values in cost.marginal.items():
        for value, hours in values.items():
            money = "" if grid.price is None else f" = {_money(hours, grid)}"
            lines.append(f"    {path} = {_short(value)}: {hours:.3g} GPU-hours{money}")
    return lines


def _warnings(cells: Sequence[CellCost]) -> list[str]:
    """Each once, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    for cell in cells:
        for warning in cell.warnings:
            about.setdefault(warning, []).append(_short(cell.title))
    return [
        f"! {titles[0] if len(titles) == 1 else f'{len(titles)} cells'}: {warning}"
        for warning, titles in about.items()
    ]


def _money(hours: float, grid: GridCells) -> str:
    assert grid.price is not None
    return f"{hours * grid.price.gpu_hour:,.0f} {grid.price.currency}".strip()


def _number(value: float | None) -> str:
    """Three digits and a letter: 8.03 G, 1.5 T."""
    if value is None:
        return "?"
    for power, letter in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power and math.isfinite(value):
            return f"{value / 10**power:.3g} {letter}"
    return f"{value:.3g}"


def _short(text: str) -> str:
    """Both ends stay: names of a grid's cells often begin alike."""
    if len(text) <= TITLE_WIDTH:
        return text
    return text[: TITLE_WIDTH // 2 - 2] + "..." + text[-(TITLE_WIDTH // 2 - 1) :]
