"""The rules of a grid, in their fixed order, from assignments to drafts of cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from threedrs_platform.config.faults import build, shown
from threedrs_platform.config.strict_yaml import KeyPath, dotted
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import Fault
from threedrs_workflows.grid.axes import Assignment, Axes, Choice
from threedrs_workflows.grid.file import Irrelevant, Override, ReadGrid, StepKind, StepResources
from threedrs_workflows.grid.rules import Rule, RuleBook
from threedrs_workflows.grid.start import NO_SEED, Workbench

_NO_SETTINGS = ("where", "reason", "allow_empty")


@dataclass(frozen=True)
class Draft:
    """A cell on its way: what it changes about the base."""

    choices: Assignment
    label: str = ""
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Resources by kind of step, beyond those of the grid."""
    at: KeyPath = ()
    """The include entry it comes from."""


@dataclass
class Expansion:
    """Applies exclude, include, override and irrelevant; collects faults."""

    grid: ReadGrid
    bench: Workbench
    certain: bool
    """False when faults before this have taken cells away."""
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = RuleBook(self.grid.document, self.bench.known_paths(), self.bench.path_fault)

    def run(self, axes: Axes) -> list[Draft]:
        """All drafts that are left, equal ones still among them."""
        drafts = [Draft(assignment) for assignment in axes.assignments()]
        drafts = self._exclude(drafts) + self._include(axes)
        for index, entry in enumerate(self.grid.file.override):
            drafts = self._override(drafts, entry, ("override", index))
        for index, other in enumerate(self.grid.file.irrelevant):
            drafts = self._irrelevant(drafts, other, ("irrelevant", index))
        return drafts

    def _exclude(self, drafts: list[Draft]) -> list[Draft]:
        gone = [False] * len(drafts)
        for index, entry in enumerate(self.grid.file.exclude):
            at: KeyPath = ("exclude", index)
            match = {key: value for key, value in entry.items() if key not in _NO_SETTINGS}
            allow_empty = self._flag(entry, at)
            rule = self._rule(at, match, entry.get("where"), allow_empty)
            if rule is not None:
                flags = self._matches(rule, drafts)
                gone = [before or now for before, now in zip(gone, flags, strict=True)]
        return [draft for draft, excluded in zip(drafts, gone, strict=True) if not excluded]

    def _flag(self, entry: Mapping[str, Any], at: KeyPath) -> bool:
        value = entry.get("allow_empty", False)
        if not isinstance(value, bool):
            message = f"expected true or false, got {shown(value)}"
            self.faults.append(self.grid.document.fault(message, (*at, "allow_empty")))
        return value is True

    def _include(self, axes: Axes) -> list[Draft]:
        drafts = []
        for index, entry in enumerate(self.grid.file.include):
            at: KeyPath = ("include", index)
            label = entry.get("label", "")
            if not isinstance(label, str):
                message = f"expected text, got {shown(label)}"
                self.faults.append(self.grid.document.fault(message, (*at, "label")))
                label = ""
            settings = {k: v for k, v in entry.items() if k not in ("label", "reason")}
            for number, choices in enumerate(axes.multiplied(self._choices(settings, at))):
                drafts.append(Draft(choices, label if number == 0 else "", at=at))
        return drafts

    def _choices(self, settings: Mapping[str, Any], at: KeyPath) -> Assignment:
        document, choices = self.grid.document, {}
        for path, value in sorted(settings.items()):
            message = self.bench.path_fault(path)
            if path == "seed":
                message = NO_SEED
            if message:
                self.faults.append(document.fault(message, (*at, path), of_key=True))
            else:
                choices[path] = Choice(path, value, document, (*at, path))
        return choices

    def _override(self, drafts: list[Draft], entry: Override, at: KeyPath) -> list[Draft]:
        rule = self._rule(at, entry.match, entry.where, entry.allow_empty, (*at, "match"))
        ours = {k: v for k, v in entry.set.items() if not k.startswith("steps.")}
        choices = self._choices(ours, (*at, "set"))
        steps = self._step_settings(entry.set, (*at, "set"))

        def change(draft: Draft) -> Draft:
            kept = {path: c for path, c in draft.choices.items() if path not in choices}
            merged = {kind: {**draft.steps.get(kind, {}), **steps[kind]} for kind in steps}
            return dataclasses.replace(
                draft, choices={**kept, **choices}, steps={**draft.steps, **merged}
            )

        return self._changed(drafts, rule, change)

    def _irrelevant(self, drafts: list[Draft], entry: Irrelevant, at: KeyPath) -> list[Draft]:
        rule = self._rule(at, entry.match, entry.where, entry.allow_empty, (*at, "match"))
        base = self.bench.build({})
        for index, key in enumerate(entry.keys):
            message = self.bench.path_fault(key)
            if message:
                self.faults.append(self.grid.document.fault(message, (*at, "keys", index)))
                rule = None

        def change(draft: Draft) -> Draft:
            choices = dict(draft.choices)
            for key in entry.keys:
                choices = {p: c for p, c in choices.items() if not f"{p}.".startswith(f"{key}.")}
                if any(key.startswith(f"{path}.") for path in choices):
                    choices[key] = Choice(key, base.value_of(key), self.grid.document, at)
            return dataclasses.replace(draft, choices=choices)

        return self._changed(drafts, rule, change)

    def _rule(
        self,
        at: KeyPath,
        match: Mapping[str, Any],
        where: Any,
        allow_empty: bool,
        match_at: KeyPath | None = None,
    ) -> Rule | None:
        rule, faults = self.book.read(at, match, where, allow_empty, match_at)
        self.faults += faults
        return rule

    def _matches(self, rule: Rule, drafts: Sequence[Draft]) -> list[bool]:
        cells = [self.bench.build(draft.choices).value_of for draft in drafts]
        flags, faults = self.book.matches(rule, cells, certain=self.certain)
        self.faults += faults
        return flags

    def _changed(
        self, drafts: list[Draft], rule: Rule | None, change: Callable[[Draft], Draft]
    ) -> list[Draft]:
        if rule is None:
            return drafts
        flags = self._matches(rule, drafts)
        return [
            change(draft) if matched else draft
            for draft, matched in zip(drafts, flags, strict=True)
        ]

    def _step_settings(self, settings: Mapping[str, Any], at: KeyPath) -> dict[str, dict[str, Any]]:
        """Resources written as `steps.KIND.NAME: value`."""
        found: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            parts = key.split(".")
            if parts[0] != "steps":
                continue
            kinds, names = get_args(StepKind), StepResources.model_fields
            message = None
            if len(parts) != 3:
                message = f"expected steps.KIND.NAME, got {key}"
            elif parts[1] not in kinds:
                message = f"no kind of step {parts[1]!r}{did_you_mean(parts[1], kinds)}"
            elif parts[2] not in names:
                message = f"no resource {parts[2]!r}{did_you_mean(parts[2], names)}"
            if message:
                self.faults.append(self.grid.document.fault(message, (*at, key), of_key=True))
                continue
            self.faults += self._resource_faults(parts[2], value, (*at, key))
            found.setdefault(parts[1], {})[parts[2]] = value
        return found

    def _resource_faults(self, name: str, value: Any, at: KeyPath) -> list[Fault]:
        faults = build(StepResources, {name: value}, lambda *_: self.grid.document.place(at))[1]
        return [dataclasses.replace(fault, path=dotted(at)) for fault in faults]
