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
    memory_gib: PositiveFloat | None = None
    timeout_s: PositiveFloat | None = None
    slurm: SlurmSettings | None = None
    """Of the Slurm jobs that do such steps, with `submit --slurm`."""

    def over(self, own: Resources) -> Resources:
        """As the engine takes them, where a step that is told nothing takes its `own`."""
        cpus = own.cpus if self.cpus is None else self.cpus
        return Resources(cpus, self.gpus, self.memory_gib, self.timeout_s, own.workers)


class Ablate(Config):
    """One factor at a time around the base, and chosen pairs of factors."""

    factors: dict[str, Any] = Field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()


class Override(Config):
    """Settings for the cells that match."""

    match: dict[str, Any] = Field(default_factory=dict)
    where: str | None = None
    set: dict[str, Any] = Field(min_length=1)
    reason: str = ""
    allow_empty: bool = False


class Irrelevant(Config):
    """Settings without effect in the cells that match: they fall back to the base's value."""

    match: dict[str, Any] = Field(default_factory=dict)
    where: str | None = None
    keys: tuple[str, ...] = Field(min_length=1)
    reason: str = ""
    allow_empty: bool = False


class Limits(Config):
    """Guards against products that explode."""

    max_cells: PositiveInt = 500


class BudgetSection(Config):
    """A hard cap: a run pauses rather than start a step that would exceed it."""

    gpu_hours: PositiveFloat
    """Of all attempts of one run, failed ones too."""


class Price(Config):
    """What a plan tells its cost in; no part of any result."""

    gpu_hour: NonNegativeFloat
    currency: str = ""


class ReportChoice(Config):
    """What the results show first."""

    metrics: tuple[str, ...] = ()
    """Metric names for the table; all when empty."""
    compare_to: str = "base"
    """The baseline cell, or the label or name of another cell."""


class GridFile(Config):
    """A grid file, section by section."""

    version: Literal[1]
    name: str
    base: dict[str, Any]
    seeds: Seeds = (0,)
    matrix: dict[str, Any] = Field(default_factory=dict)
    zip: dict[str, dict[str, Any]] = Field(default_factory=dict)
    ablate: Ablate = Ablate()
    exclude: tuple[dict[str, Any], ...] = ()
    include: tuple[dict[str, Any], ...] = ()
    override: tuple[Override, ...] = ()
    irrelevant: tuple[Irrelevant, ...] = ()
    env: dict[str, str | None] = Field(default_factory=dict)
    """Environment variables that values may hold as ${NAME}, with a default or null."""
    limits: Limits = Limits()
    report: ReportChoice = ReportChoice()
    steps: dict[StepKind, StepResources] = Field(default_factory=dict)
    budget: BudgetSection | None = None
    """What a run of the grid may spend."""
    price: Price | None = None
    tune: TuneSection | None = None
    """What `workflows tune` searches; without effect on the grid's own cells."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise ValueError(f"{name!r}: use lower-case letters, digits and dashes")
        if len(name) > MOST_LETTERS:
            raise ValueError(
                f"{len(name)} letters; runs and files carry it, so {MOST_LETTERS} at most"
            )
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
    for path, written in _settings(value, "", at):
        for other in seen:
            if path == other or path.startswith(f"{other}.") or other.startswith(f"{path}."):
                first = document.place(seen[other]).line
                message = f"{path} is set twice (first in line {first})"
                faults.append(document.fault(message, written, of_key=True))
                break
        seen[path] = written
    return faults


def _settings(value: Mapping[str, Any], prefix: str, at: KeyPath) -> list[tuple[str, KeyPath]]:
    found: list[tuple[str, KeyPath]] = []
    for key, item in value.items():
        path = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            found += _settings(item, f"{path}.", (*at, key))
        else:
            found.append((path, (*at, key)))
    return found
