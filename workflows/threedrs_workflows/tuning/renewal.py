"""A trial counts while its cells would get the same keys today: same code, data and parameters.

Optuna's samplers, pruners and importances learn from every trial of a study, and a trial that has
ended can be neither changed nor marked. So a study with trials out of date is replaced by another:
trials that count are copied, the others wait there to be measured again, with their settings and
under their numbers. The engine finds what is done already under equal keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from threedrs_platform.database.journal import Journal
from threedrs_platform.database.studies import (
    CELL,
    FACTS,
    KEYS,
    OUT_OF_DATE,
    REPLACED_BY,
    REPLACES,
)
from threedrs_workflows.grid.tune_arms import Arm
from threedrs_workflows.plan.graph import Graph
from threedrs_workflows.plan.reasons import own_changes
from threedrs_workflows.tuning.trial_cells import TrialCells, measuring_keys

NO_KEYS = "nothing says by which code and from which data they were measured"


def newest_study(storage: BaseStorage, first: str) -> optuna.Study:
    """The study that goes on in place of the first one of an arm, or that one itself."""
    study = optuna.load_study(study_name=first, storage=storage)
    while REPLACED_BY in study.user_attrs:
        study = optuna.load_study(study_name=study.user_attrs[REPLACED_BY], storage=storage)
    return study


def out_of_date(study: optuna.Study, arm: Arm, trial_cells: TrialCells) -> dict[int, str]:
    """Number -> why, of the trials that do not count any more."""
    reasons = {
        trial.number: _why_out_of_date(trial, arm, trial_cells)
        for trial in study.get_trials()
        # A process that dies right after it asked leaves a trial that no cell was made for.
        if trial.state.is_finished() or CELL in trial.user_attrs
    }
    return {number: why for number, why in reasons.items() if why}


def replace_study(
    storage: BaseStorage, first: str, study: optuna.Study, stale: Mapping[int, str]
) -> optuna.Study:
    """Make the study that goes on in place of one with trials out of date.

    Until the last line the old study is the newest. What a process leaves here that dies before it
    is therefore known by nobody, and made again from the start.
    """
    edition = int(study.study_name.removeprefix(first).removeprefix("@") or 1)
    name = f"{first}@{edition + 1}"
    if name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    new = optuna.create_study(study_name=name, storage=storage, directions=study.directions)
    new.set_user_attr(FACTS, study.user_attrs[FACTS])
    new.set_user_attr(REPLACES, study.study_name)
    waiting = {str(trial.number) for trial in study.get_trials(states=[TrialState.WAITING])}
    before = study.user_attrs.get(OUT_OF_DATE, {})
    still = {number: why for number, why in before.items() if number in waiting}
    new.set_user_attr(OUT_OF_DATE, {**still, **{str(each): why for each, why in stale.items()}})
    for trial in study.get_trials():
        if trial.number in stale:
            new.enqueue_trial(trial.params)
        else:
            new.add_trial(trial)
    study.set_user_attr(REPLACED_BY, name)
    return new


def _why_out_of_date(trial: FrozenTrial, arm: Arm, trial_cells: TrialCells) -> str:
    """Empty if the trial counts."""
    values = {each.path: each.suggest(trial) for each in arm.dimensions}
    keys = trial.user_attrs.get(KEYS)
    experiment = trial_cells.tuning.experiment(arm, values)
    if isinstance(experiment, list):  # refused: it counts if it was refused then, too
        return f"settings are refused today: {experiment[0].message}" if keys else ""
    if keys is None:
        return NO_KEYS
    graph = trial_cells.graph(trial_cells.make(arm, trial.number, values, experiment))
    today = measuring_keys(graph)
    return "" if keys == today else _changes(trial_cells.workspace.journal, keys, today, graph)


def _changes(
    journal: Journal, keys: Mapping[str, str], today: Mapping[str, str], graph: Graph
) -> str:
    """What changed since a trial was measured, and of which kinds of step: walks up the inputs."""
    pairs = {(keys[each], today[each]) for each in keys.keys() & today.keys()}
    kinds: dict[str, list[str]] = {}
    while pairs := {(then, now) for then, now in pairs if then != now}:
        recipes = journal.recipes_of([then for then, _ in pairs])
        inputs: set[tuple[str, str]] = set()
        for then, now in sorted(pairs):
            recipe = json.loads(graph.nodes[now].recipe.json())
            old: Any = recipes.get(then)
            changes = ["no record of what it was"] if old is None else own_changes(old, recipe)
            for change in changes:
                known = kinds.setdefault(change, [])
                known += [recipe["kind"]] if recipe["kind"] not in known else []
            if old is not None:
                names = old["inputs"].keys() & recipe["inputs"].keys()
                inputs |= {(old["inputs"][name], recipe["inputs"][name]) for name in names}
        pairs = inputs
    told = [f"{change} ({', '.join(reversed(found))})" for change, found in kinds.items()]
    return "; ".join(told) or "they have other steps today"
