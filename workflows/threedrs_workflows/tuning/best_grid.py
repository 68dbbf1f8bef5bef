"""The best settings as a grid file: every arm as it was and as it is tuned, ready to submit."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from threedrs_platform.database.trials import StudyView
from threedrs_workflows.experiment_identity import experiment_id
from threedrs_workflows.grid.axes import Choice
from threedrs_workflows.grid.tune_arms import Arm, Tuning

KEPT = ("seeds", "env", "steps", "limits")
"""Sections of the grid that stay as they are."""


def best_grid(tuning: Tuning, studies: Sequence[StudyView]) -> str:
    """YAML text of a grid with the base, each arm, and each arm's best trials.

    They train on all annotated scenes again and are evaluated on the grid's own split.
    """
    raw = copy.deepcopy(tuning.document.data)
    cells = _Cells(tuning)
    cells.add({}, "base")
    for arm, study in zip(tuning.arms, studies, strict=True):
        if arm.values:
            cells.add(arm.values, arm.title)
        for trial in study.best:
            prefix = f"{arm.title} " if arm.values else ""
            several = f" {trial.number}" if len(study.best) > 1 else ""
            cells.add({**arm.values, **trial.params}, f"{prefix}tuned{several}")
    report = {**raw.get("report", {}), "compare_to": "base"}
    grid = {
        "version": raw["version"],
        "name": f"{raw['name']}-tuned",
        "base": _base(raw["base"], tuning.document.file),
        **{key: raw[key] for key in KEPT if key in raw},
        "include": cells.entries,
        "report": report,
    }
    return _header(tuning, studies) + yaml.safe_dump(grid, sort_keys=False, width=100)


class _Cells:
    """Include entries; a cell that is there already only keeps its first label."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._known: set[str] = set()
        self.entries: list[dict[str, Any]] = []

    def add(self, values: Mapping[str, Any], label: str) -> None:
        """One cell, as its difference from the base."""
        document = self._tuning.document
        choices = {p: Choice(p, v, document, ("tune",)) for p, v in values.items()}
        experiment = self._tuning.bench.build(choices).experiment
        assert experiment is not None, "a trial has run with these settings"
        cell = experiment_id(experiment)
        if cell not in self._known:
            self._known.add(cell)
            self.entries.append({**values, "label": label})


def _base(raw: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The grid's base; a preset that is a file is named by its full path."""
    preset = raw.get("preset")
    if isinstance(preset, str) and preset.endswith((".yaml", ".yml")):
        return {**raw, "preset": str((Path(file).parent / preset).resolve())}
    return dict(raw)


def _header(tuning: Tuning, studies: Sequence[StudyView]) -> str:
    lines = [f"# The best settings that tuning run {tuning.run} has found."]
    for arm, study in zip(tuning.arms, studies, strict=True):
        facts = study.facts
        price = f"{len(study.trials)} trials, seeds {list(facts.seeds)}"
        for trial in study.best:
            values = ", ".join(
                f"{name} {value:.4g}"
                for name, value in zip(facts.metrics, trial.values, strict=True)
            )
            lines.append(f"# {_name(arm)}trial {trial.number} of {price}: {values}")
        lines += [f"# {_name(arm)}{edge}" for edge in study.edges()]
    held_out = tuning.section.held_out
    lines.append(f"# Measured on the {held_out:.0%} of the training scenes that were held out.")
    return "\n".join(lines) + "\n\n"


def _name(arm: Arm) -> str:
    return f"{arm.title}: " if arm.values else ""
