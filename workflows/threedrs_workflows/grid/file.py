"""The sections of a grid file, checked for their form: what may stand where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from threedrs_platform.config import Config
from threedrs_platform.config.faults import build
from threedrs_platform.config.strict_yaml import Document, KeyPath, Place, parse_value
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.steps import Resources
from threedrs_workflows.grid.environment import fill_in
from threedrs_workflows.grid.slurm_section import SlurmSettings
from threedrs_workflows.grid.tune_section import Seeds, TuneSection

VERSION = 1
MOST_LETTERS = 80
"""Of a grid's name."""

StepKind = Literal[
    "scenes",
    "prepare",
    "samples",
    "pretrain",
    "teacher",
    "extract",
    "finetune",
    "probe",
    "predict",
    "score",
]


class StepResources(Config):
    """What attempts of one kind of step occupy; never part of a result's identity."""

    cpus: NonNegativeFloat | None = None
    """null: one for each process of the step."""
    gpus: NonNegativeFloat = 0
    """GPUs of one attempt, in parts too; a step that is given none runs on the CPU."""
    memory_gib: PositiveFloat | None = None
    """Memory that is set aside for one attempt, in GiB; null sets none aside."""
    nodes: PositiveInt = 1
    """Machines over which `training.workers` and `gpus` are spread evenly, with `submit --slurm` or
    torchrun; of Ray and `--ray none` it asks nothing."""
    timeout_s: PositiveFloat | None = None
    """Seconds after which an attempt is stopped and counts as failed; null never stops one."""
    slurm: SlurmSettings | None = None
    """Of the Slurm jobs that do such steps, with `submit --slurm`."""

    def over(self, own: Resources) -> Resources:
        """As the engine takes them, where a step that is told nothing takes its `own`."""
        cpus = own.cpus if self.cpus is None else self.cpus
        return Resources(cpus, self.gpus, self.memory_gib, self.timeout_s, own.workers, self.nodes)


class Ablate(Config):
    """One factor at a time around the base, and chosen pairs of factors."""

    factors: dict[str, Any] = Field(default_factory=dict)
    """Setting -> values: each value is a cell, in which nothing else differs from the base."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of factors of which every combination is a cell, too."""


class Override(Config):
    """Settings for the cells that match."""

    match: dict[str, Any] = Field(default_factory=dict)
    """Settings and the values by which cells are chosen; empty chooses all that `where` leaves."""
    where: str | None = None
    """An expression by which cells are chosen: `teacher == 'vggt' and alignment.weight > 1`."""
    set: dict[str, Any] = Field(min_length=1)
    """Settings and the values that these cells get."""
    reason: str = ""
    """Why, for who reads the grid."""
    allow_empty: bool = False
    """Whether it may match no cell; else that is a mistake."""


class Irrelevant(Config):
    """Settings without effect in the cells that match: they fall back to the base's value."""

    match: dict[str, Any] = Field(default_factory=dict)
    """Settings and the values by which cells are chosen; empty chooses all that `where` leaves."""
    where: str | None = None
    """An expression by which cells are chosen: `teacher == 'none'`."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The settings that have no effect there."""
    reason: str = ""
    """Why, for who reads the grid."""
    allow_empty: bool = False
    """Whether it may match no cell; else that is a mistake."""


class Limits(Config):
    """Guards against products that explode."""

    max_cells: PositiveInt = 500
    """Most cells that the grid may expand into; more are refused."""


class BudgetSection(Config):
    """A hard cap: a run pauses rather than start a step that would exceed it."""

    gpu_hours: PositiveFloat
    """Of all attempts of one run, failed ones too."""


class Price(Config):
    """What a plan tells its cost in; no part of any result."""

    gpu_hour: NonNegativeFloat
    """Of one GPU for one hour."""
    currency: str = ""
    """Said behind the amount."""


class ReportChoice(Config):
    """What the results show first."""

    metrics: tuple[str, ...] = ()
    """Metric names for the table; all when empty."""
    compare_to: str = "base"
    """The baseline cell, or the label or name of another cell."""


class GridFile(Config):
    """A grid file, section by section."""

    version: Literal[1]
    """Of the grid language: 1."""
    name: str
    """Of the grid, in lower-case letters, digits and dashes. Runs are called after it."""
    base: dict[str, Any]
    """The settings that every cell starts from: a `preset`, and what this grid changes of it. Names
    may be dotted: `alignment.weight: 3`. Taken as it is, it is the baseline cell."""
    seeds: Seeds = (0,)
    """Replicates: every cell runs once with each. They repeat a cell and are no axis."""
    matrix: dict[str, Any] = Field(default_factory=dict)
    """Axes by setting, each with its values: every combination is a cell."""
    zip: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings that change together: a name -> settings -> as many values each."""
    ablate: Ablate = Ablate()
    """One factor at a time around the base."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Cells that are left out: settings that match, or `where`, with a `reason`."""
    include: tuple[dict[str, Any], ...] = ()
    """Single cells beside the others, as differences from the base; `label` names one."""
    override: tuple[Override, ...] = ()
    """Settings that cells that match get in any case."""
    irrelevant: tuple[Irrelevant, ...] = ()
    """Settings without effect in cells that match, so that equal cells become one."""
    env: dict[str, str | None] = Field(default_factory=dict)
    """Environment variables that values may hold as ${NAME}, with a default or null."""
    limits: Limits = Limits()
    """Guards against products that explode."""
    report: ReportChoice = ReportChoice()
    """What tables show, and against which cell."""
    steps: dict[StepKind, StepResources] = Field(default_factory=dict)
    """What each kind of step occupies: processors, GPUs, memory, time. In no key."""
    budget: BudgetSection | None = None
    """What a run of the grid may spend."""
    price: Price | None = None
    """What a plan tells its cost in."""
    tune: TuneSection | None = None
    """What `workflows tune` searches; without effect on the grid's own cells."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return plain_name(name)


def plain_name(name: str) -> str:
    """The name of a grid, if it is one.

    Raises:
        ValueError: it is none; says why.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ValueError(f"{name!r}: use lower-case letters, digits and dashes")
    if len(name) > MOST_LETTERS:
        raise ValueError(f"{len(name)} letters; runs and files carry it, so {MOST_LETTERS} at most")
    return name


@dataclass(frozen=True)
class Setting:
    """A `--set key=v1,v2` of the command line."""

    path: str
    values: tuple[Any, ...]
    document: Document


@dataclass(frozen=True)
class ReadGrid:
    """A grid file after the check of its form. Faulty sections are left out of `file`."""

    document: Document
    file: GridFile
    settings: tuple[Setting, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


def read_grid(document: Document, sets: tuple[str, ...] = ()) -> ReadGrid:
    """Check the form of a grid file and of `--set` flags; collects faults instead of raising.

    Raises:
        ConfigError: the version is missing or unknown, so nothing else can be judged.
    """
    _check_version(document)
    faults: list[Fault] = []
    env, data = fill_in(document, faults)
    settings = [setting for text in sets if (setting := _read_setting(text, faults))]

    def locate(path: KeyPath, of_key: bool) -> Place:
        return document.place(path, of_key=of_key)

    file, wrong = build(GridFile, data, locate)
    faults += wrong
    if file is None:
        bad = {re.split(r"[.\[]", fault.path)[0] for fault in wrong}
        known = set(GridFile.model_fields) - bad
        usable = {key: value for key, value in data.items() if key in known}
        if "tune" in bad:
            usable |= _sound_part_of_tune(data["tune"], wrong)
        file = GridFile.model_validate(
            {"name": "unnamed", "base": {}, **usable, "version": VERSION}
        )
    return ReadGrid(document, file, tuple(settings), env, tuple(faults))


def _sound_part_of_tune(raw: Any, faults: list[Fault]) -> dict[str, Any]:
    """The section without its faulty keys, so that the rest can be judged; nothing if none is."""
    bad = {re.split(r"[.\[]", fault.path)[1] for fault in faults if fault.path.startswith("tune.")}
    if not isinstance(raw, dict):
        return {}
    known = set(TuneSection.model_fields) - bad
    sound = {key: value for key, value in raw.items() if key in known}
    section, _ = build(TuneSection, sound, lambda path, of_key: Place(""))
    return {} if section is None else {"tune": section}


def _check_version(document: Document) -> None:
    version = document.data.get("version")
    if isinstance(version, bool) or version != VERSION:
        if "version" in document.data:
            message = f"expected version: {VERSION}, got {version!r}"
        else:
            near = did_you_mean("version", [key for key in document.data if key.startswith("v")])
            message = f"expected version: {VERSION}" + (near if "mean" in near else "")
        raise ConfigError([document.fault(message, ("version",))])


def _read_setting(text: str, faults: list[Fault]) -> Setting | None:
    flag = f"--set {text}"
    path, equals, values = text.partition("=")
    if not equals or not path.strip() or not values.strip():
        faults.append(Fault("expected KEY=VALUE or KEY=VALUE,VALUE", file=flag))
        return None
    try:
        parsed = parse_value(f"[{values}]", flag)
    except ConfigError as error:
        faults += [Fault(fault.message, path, flag) for fault in error.faults]
        return None
    return Setting(path.strip(), tuple(parsed), Document(flag, text, {}))


def undotted_twice(value: Mapping[str, Any], document: Document, at: KeyPath) -> list[Fault]:
    """Faults for settings that one mapping writes twice, once nested and once dotted."""
    seen: dict[str, KeyPath] = {}
    faults = []
    for path, written in flat_settings(value, "", at):
        for other in seen:
            if path == other or path.startswith(f"{other}.") or other.startswith(f"{path}."):
                first = document.place(seen[other]).line
                message = f"{path} is set twice (first in line {first})"
                faults.append(document.fault(message, written, of_key=True))
                break
        seen[path] = written
    return faults


def flat_settings(value: Mapping[str, Any], prefix: str, at: KeyPath) -> list[tuple[str, KeyPath]]:
    """Dotted names of the single settings of a mapping, each with where it was written."""
    found: list[tuple[str, KeyPath]] = []
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            found += flat_settings(item, f"{path}.", (*at, key))
        else:
            found.append((path, (*at, key)))
    return found
