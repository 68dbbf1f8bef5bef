"""Small grids, for fuzzing: one with every section, and drawn ones with a plain reading of their
rules."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Mapping
from typing import Any

import yaml

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import GridCells, expand
from threedrs_workflows.testing.spoiled_state import Wrong

SMALL = """\
version: 1
name: small
base:
  preset: micro
  teacher: vggt
  alignment.weight: 3
seeds: [1, 2]
env: {WEIGHT: "2.5"}
matrix:
  teacher: [vggt, mae]
  alignment.weight: [1, "${WEIGHT}", 3.0]
zip:
  size: {training.steps: [2, 3], training.questions_per_scene: [2, 4]}
exclude:
  - {teacher: mae, alignment.weight: 1, reason: costly}
  - {where: "teacher == 'vggt' and training.steps > 2"}
include:
  - {teacher: none, label: baseline}
override:
  - {match: {teacher: mae}, set: {alignment.layers: [2], steps.extract.cpus: 2}}
irrelevant:
  - {match: {teacher: none}, keys: [alignment.weight]}
limits: {max_cells: 50}
steps:
  extract: {cpus: 1, memory_gib: 2, timeout_s: 600}
  predict: {cpus: 2}
report: {compare_to: baseline, metrics: [scanrefer/acc@0.25]}
budget: {gpu_hours: 2.5}
price: {gpu_hour: 2, currency: EUR}
"""
TUNE = """\
tune:
  metric: scanrefer/acc@0.25
  trials: 6
  space:
    alignment.weight: {float: [0.1, 10.0], log: true}
    alignment.layers: {categorical: [[-1], [1], [2]]}
"""
AXES: dict[str, list[Any]] = {
    "teacher": ["vggt", "mae"],
    "alignment.weight": [0.5, 2.0, 4.0],
    "training.steps": [2, 5],
}
RESOURCES = {"steps.extract.cpus": (2, 3), "steps.predict.memory_gib": (1, 8)}
OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
Assignment = dict[str, Any]


def small_grid(draw: random.Random) -> str:
    """The text of a grid that is expanded in milliseconds."""
    return SMALL + (TUNE if draw.random() < 0.5 else "")


class Refused(Exception):
    """A plain reading finds a fault."""


def attempt_rules(draw: random.Random) -> bool:
    """A drawn grid, expanded, against a plain reading of its rules."""
    grid = _drawn(draw)
    try:
        wanted: list[Assignment] | None = _read_plainly(grid)
    except Refused:
        wanted = None
    try:
        cells = expand(load_document(yaml.safe_dump(grid, sort_keys=False), "grid.yaml"))
    except ConfigError as error:
        if wanted is not None:
            raise Wrong(f"{grid}\nis refused: {error}") from error
        raise
    if wanted is None:
        raise Wrong(f"{grid}\nis taken though a rule matches nothing")
    _compare(grid, cells, wanted)
    return True


def _drawn(draw: random.Random) -> dict[str, Any]:
    names = draw.sample(list(AXES), draw.choice((2, 3)))
    exclude = []
    for _ in range(draw.randrange(3)):
        match, where = _condition(draw, names)
        exclude.append({**match, **where, **_flag(draw)})
    override = []
    for _ in range(draw.randrange(3)):
        match, where = _condition(draw, names)
        changed: dict[str, Any] = {}
        if draw.random() < 0.6:
            path = draw.choice(names)
            changed[path] = draw.choice(AXES[path])
        if not changed or draw.random() < 0.5:
            resource = draw.choice(list(RESOURCES))
            changed[resource] = draw.choice(RESOURCES[resource])
        override.append({"match": match, **where, "set": changed, **_flag(draw)})
    return {
        "version": 1,
        "name": "drawn",
        "base": {"preset": "micro", "teacher": "vggt"},
        "matrix": {name: AXES[name] for name in names},
        "exclude": exclude,
        "override": override,
    }


def _condition(draw: random.Random, names: list[str]) -> tuple[Assignment, dict[str, str]]:
    chosen = draw.sample(names, draw.choice((0, 1, 1, 2)))
    match: Assignment = {}
    for name in chosen:
        values = AXES[name]
        match[name] = draw.choice((draw.choice(values), draw.sample(values, 2)))
    numbers = [name for name in names if name != "teacher"]
    if match and draw.random() < 0.6:
        return match, {}
    name = draw.choice(numbers)
    return match, {"where": f"{name} {draw.choice(list(OPERATORS))} {draw.choice(AXES[name])}"}


def _flag(draw: random.Random) -> dict[str, bool]:
    return {"allow_empty": True} if draw.random() < 0.7 else {}


def _read_plainly(grid: Mapping[str, Any]) -> list[Assignment]:
    """The cells of a drawn grid, settings and resources in one.

    Raises:
        Refused: a rule matches nothing, or a value that it lists is in no cell.
    """
    axes = dict(sorted(grid["matrix"].items()))  # of equal cells the first one stays
    cells = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    gone = [False] * len(cells)
    for rule in grid["exclude"]:
        match = {key: value for key, value in rule.items() if key in AXES}
        flags = _matching(cells, match, rule)
        gone = [before or now for before, now in zip(gone, flags, strict=True)]
    cells = [cell for cell, is_gone in zip(cells, gone, strict=True) if not is_gone]
    for rule in grid["override"]:
        flags = _matching(cells, rule["match"], rule)
        for cell, matches in zip(cells, flags, strict=True):
            if matches:
                cell.update(rule["set"])
    if not cells:
        raise Refused
    first: dict[tuple[Any, ...], Assignment] = {}
    for cell in cells:
        first.setdefault(tuple(cell[name] for name in axes), cell)
    return list(first.values())


def _matching(cells: list[Assignment], match: Assignment, rule: Mapping[str, Any]) -> list[bool]:
    flags = []
    for cell in cells:
        fits = all(
            cell[name] in value if isinstance(value, list) else cell[name] == value
            for name, value in match.items()
        )
        if "where" in rule:
            name, compare, value = rule["where"].split()
            fits = fits and OPERATORS[compare](cell[name], float(value))
        flags.append(fits)
    if rule.get("allow_empty"):
        return flags
    listed = [
        (name, each)
        for name, value in match.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    if not any(flags) or any(all(cell[name] != each for cell in cells) for name, each in listed):
        raise Refused
    return flags


def _compare(grid: Mapping[str, Any], found: GridCells, wanted: list[Assignment]) -> None:
    """Each cell is one of those that were wanted, and has its resources."""
    left = list(wanted)
    for cell in found.cells:
        fitting = [
            each
            for each in left
            if all(each[path] == value for path, value in cell.axes.items() if path in each)
        ]
        if len(fitting) != 1:
            raise Wrong(f"{grid}\n{cell.axes} fits {fitting}")
        left.remove(fitting[0])
        for path, value in fitting[0].items():
            kind, _, name = path.removeprefix("steps.").partition(".")
            if path in RESOURCES and getattr(cell.resources[kind], name) != value:
                raise Wrong(f"{grid}\n{cell.axes}: {cell.resources}, wanted {path}: {value}")
    if left:
        raise Wrong(f"{grid}\nlacks {left}")
