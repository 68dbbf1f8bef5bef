"""Which settings of an experiment take part in its cells, and the id that comes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.objectives.registry import OBJECTIVES
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config import CONDUCT, LATER, Config
from threedrs_platform.identity.recipes import sha256_text
from threedrs_workflows.experiment import NO_TEACHER, Experiment
from threedrs_workflows.written import Written

AS_EVALUATED_BEFORE = EvaluationConfig().canonical(without=(CONDUCT,))


def canonical_experiment(experiment: Experiment, written: Written | None = None) -> dict[str, Any]:
    """JSON values of all settings that take part in this cell, in the shape of the tree.

    Left out are: the seed, entries of tables that are not chosen, training and its losses where
    there are 0 steps of it, the teacher and its alignment where nothing is distilled, all but the
    weight of another objective whose weight is 0, `held_out` where it is 0, pretraining of what has
    a checkpoint, prompts of benchmarks that nobody asks, and settings marked as conduct.
    Places stay: cells that differ in a checkpoint's path are different cells.

    Args:
        experiment: of the cell.
        written: what other cells have written already; sections of the result are shared with it.
    """
    known = written or Written()
    return dict(known.once("experiment", lambda: _taking_part(experiment, known), experiment))


def _taking_part(experiment: Experiment, written: Written) -> dict[str, Any]:
    data = written.canonical(experiment, without=(CONDUCT,))
    del data["seed"]
    student, teacher = experiment.student, experiment.teacher
    trains, fuses, has_teacher = experiment.trains(), experiment.fuses(), experiment.has_teacher()
    data["students"] = written.once(
        "one", lambda: _one(data["students"], student), data["students"], student
    )
    if experiment.student_config().checkpoint is not None:
        del data["student_pretraining"]
    if not fuses:
        del data["fusion"]
    if not has_teacher:
        data["teacher"] = NO_TEACHER
        del data["teachers"], data["teacher_pretraining"]
    else:
        data["teachers"] = written.once(
            "one", lambda: _one(data["teachers"], teacher), data["teachers"], teacher
        )
        data["teacher_pretraining"] = _recipe_of_teacher(experiment, written)
    benchmarks = data["benchmarks"]
    data["benchmarks"] = written.once(
        "asked", lambda: _without_idle_prompts(experiment.benchmarks, benchmarks), benchmarks
    )
    if not trains:
        data["training"] = {"steps": 0}
    if experiment.held_out == 0:
        del data["held_out"]
    losses = {name: data.pop(name) for name in OBJECTIVES}
    if not trains:
        return data
    taking_part = experiment.taking_part(losses, has_teacher=experiment.teacher != NO_TEACHER)
    if fuses:
        # A loss that is off tells fusion alone from fusion beside distillation.
        taking_part = {name: {"weight": 0.0} for name in losses} | taking_part
    if has_teacher and not experiment.alignment.is_on:
        # So is another loss of the teacher's alone told from one beside alignment.
        taking_part["alignment"] = {"weight": 0.0, **_pooling(experiment)}
    return data | taking_part


def _one(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: table[name]}


def _pooling(experiment: Experiment) -> dict[str, Any]:
    """How the teacher's maps become tokens, which alignment says even where it is off."""
    alignment = experiment.alignment
    chosen = alignment.teacher_area
    return {} if chosen == type(alignment)().teacher_area else {"teacher_area": chosen}


def _recipe_of_teacher(experiment: Experiment, written: Written) -> dict[str, Any]:
    recipe = experiment.pretraining_of_teacher()
    if recipe is None:
        return {}
    made_of = (experiment.teacher_config(), experiment.teacher_pretraining[experiment.teacher])
    canonical = written.once("recipe", lambda: recipe.canonical(without=(CONDUCT,)), *made_of)
    return {experiment.teacher: canonical}


def _without_idle_prompts(benchmarks: BenchmarksConfig, data: dict[str, Any]) -> dict[str, Any]:
    idle = set(benchmarks.idle_prompts())
    if not idle:
        return data
    kept = {name: each for name, each in data["prompts"].items() if name not in idle}
    return {**data, "prompts": kept}


def experiment_id(experiment: Experiment, written: Written | None = None) -> str:
    """First 12 hex digits of the sha256 of what takes part; names of table entries do not."""
    known = written or Written()
    data = canonical_experiment(experiment, known)
    for table, chosen in (("students", "student"), ("teachers", "teacher")):
        entries = data.pop(table, {})
        data[chosen] = entries.get(data[chosen], data[chosen])
    data["teacher_pretraining"] = list(data.get("teacher_pretraining", {}).values())
    if data["evaluation"] == AS_EVALUATED_BEFORE:
        # As float32 students were evaluated before there was a choice: they keep their ids.
        del data["evaluation"]
    _drop_later_defaults(experiment, data, known)
    for name in OBJECTIVES.keys() - {each.name for each in experiment.active_objectives()}:
        # A new objective that is off must give no cell another id.
        told = {key: each for key, each in data.pop(name, {}).items() if key != "weight"}
        if told:
            data[name] = told
    return sha256_text(known.json(data))[:12]


BEFORE_THE_MARK = {
    "scenes": ("min_frames", "depth_scale"),
    "prepare": ("checks",),
    "teacher": ("max_cut", "frames"),
    "benchmarks": ("missing_scenes",),
}
"""Settings that there were not always and that stand in keys of steps all the same: a mark would
change those."""


def _drop_later_defaults(experiment: Experiment, data: dict[str, Any], written: Written) -> None:
    """At their defaults later settings are no part of an id: cells from before keep theirs."""
    sections = {
        **{name: getattr(experiment, name) for name in OBJECTIVES if name in data},
        "scenes": experiment.scenes,
        "prepare": experiment.prepare,
        "teacher": experiment.teacher_config(),
        "benchmarks": experiment.benchmarks,
        "probe": experiment.probe,
    }
    for section, config in sections.items():
        if config is None:
            continue
        later = written.once(f"later {section}", partial(_later_defaults, section, config), config)
        told = data[section]
        if not later.isdisjoint(told):
            data[section] = written.once("kept", partial(_without, told, later), told, later)


def _later_defaults(section: str, config: Config) -> frozenset[str]:
    """Later settings of a section that are at their defaults."""
    return frozenset(
        name
        for name, field in type(config).model_fields.items()
        if (LATER in field.metadata or name in BEFORE_THE_MARK.get(section, ()))
        and getattr(config, name) == field.default
    )


def _without(told: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: each for name, each in told.items() if name not in names}
