"""Where studies of tuning are kept, what they are called, and what is known of each.

A tuning run has one study per arm, kept by Optuna: in one journal file of the workspace, or, where
the workspace's database is PostgreSQL, in that database (schema "optuna"). Tuning writes them, the
dashboards read them and say what mattered. Optuna is imported only when a study is opened.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from threedrs_platform.compute.recorder import cut_off_torn_line
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_platform.storage import storage_errors

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial

    from threedrs_platform.database.connection import Database

SCHEMA = "optuna"
"""PostgreSQL schema of Optuna's tables: their migrations stay apart from those of ours."""
FACTS = "threedrs"
"""User attribute of a study that holds its `StudyFacts`."""
CELL, SECONDS, REASON, MEASURED = "cell_id", "seconds", "reason", "measured"
"""User attributes of a trial: its cell, how long it took, why it ended early, its other metrics."""
FEWEST_TRIALS = 4
"""Fewer complete trials say nothing about what mattered."""
FOREST_SEED = 0
"""Of the random forest behind importances: the same trials give the same shares everywhere."""


class StudyPlace(Protocol):
    """What of a workspace holds studies: its folder, or its database if that is PostgreSQL."""

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        ...

    @property
    def database_url(self) -> str:
        """Empty for the SQLite file in the folder."""
        ...

    @property
    def database(self) -> Database:
        """The open database."""
        ...


@dataclass(frozen=True)
class StudyFacts:
    """What a study searches, for readers that do not have its grid file."""

    run: str
    """Name of the tuning run that it belongs to: grid name and digest of what is searched."""
    grid: str
    arm: Mapping[str, Any]
    """Settings that tell this arm from the others; empty where there is one arm."""
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    space: Mapping[str, str]
    """Setting -> its range, in words."""
    trials: int
    """The arm's budget, equal for all arms."""
    seeds: tuple[int, ...]
    """Every trial is trained with each of them; its value is the mean."""
    training_steps: int
    held_out: float
    """Share of the annotated training scenes that trials are scored on."""
    choices: Mapping[str, list[Any]] = field(default_factory=dict)
    """Setting -> values in the order in which Optuna numbers them, for lists and the like."""
    run_id: str = ""
    """The submission whose cells the trials are."""
    watched: str = ""
    """The curve that pruning looks at; empty without a pruner."""

    @classmethod
    def of(cls, study: Study) -> StudyFacts:
        """The facts of a study that tuning has made."""
        known = dict(study.user_attrs[FACTS])
        for name in ("metrics", "directions", "seeds"):
            known[name] = tuple(known[name])
        return cls(**known)

    @property
    def arm_name(self) -> str:
        """The arm for people; "all" where there is one."""
        return arm_name(self.arm)


@dataclass(frozen=True)
class TrialRow:
    """One trial as tables and plots show it."""

    number: int
    state: str
    """running, complete, pruned, fail or waiting"""
    params: Mapping[str, Any]
    """Setting -> value, as the configuration has it."""
    values: tuple[float, ...]
    """One per metric; empty unless the trial is complete."""
    cell_id: str
    seconds: float | None
    reason: str
    """Why the trial was pruned or failed."""
    intermediate: Mapping[int, float]
    """Training step -> value of the watched curve."""
    measured: Mapping[str, float]
    """Other metrics of the cell."""


def arm_name(arm: Mapping[str, Any]) -> str:
    """`teacher=vggt`, or "all" for no arm."""
    return ",".join(f"{path}={value}" for path, value in arm.items()) or "all"


def study_name(run: str, arm: Mapping[str, Any]) -> str:
    """A study's name in its storage: `<tuning run>/<arm>`."""
    return f"{run}/{arm_name(arm)}"


def tuning_folder(root: Path, run: str = "") -> Path:
    """Folder of a workspace for a tuning run's journal, tables and plots, or for all of them."""
    return root / "tuning" / run if run else root / "tuning"


def journal_file(root: Path, run: str) -> Path:
    """The journal that holds the studies of one tuning run."""
    return tuning_folder(root, run) / "study.journal"


def study_names(workspace: StudyPlace) -> list[str]:
    """All studies of a workspace, by name. Creates nothing."""
    import optuna

    names: list[str] = []
    for run in _runs(workspace):
        storage = open_storage(workspace, run)
        names += optuna.get_all_study_names(storage)
    return sorted(names)


def load_study(workspace: StudyPlace, name: str) -> Study:
    """A study by its name, for reading.

    Raises:
        ConfigError: there is none.
    """
    import optuna

    known = study_names(workspace)
    if name not in known:
        raise ConfigError([Fault(f"there is no study {name!r}{did_you_mean(name, known)}")])
    storage = open_storage(workspace, name.partition("/")[0])
    return optuna.load_study(study_name=name, storage=storage)


def open_storage(workspace: StudyPlace, run: str) -> BaseStorage:
    """Storage of a tuning run's studies, created if need be."""
    from optuna.storages import JournalStorage, RDBStorage

    if _is_server(workspace):
        from sqlalchemy.pool import NullPool  # nobody closes an Optuna storage: keep nothing open

        search_path = {"options": f"-csearch_path={SCHEMA}"}
        kept = {"connect_args": search_path, "poolclass": NullPool}
        return RDBStorage(workspace.database_url, engine_kwargs=kept)
    file = journal_file(workspace.root, run)
    with storage_errors(f"write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_journal(file))


def prepare_storage(workspace: StudyPlace) -> None:
    """Make room for Optuna's tables; without effect on journal files."""
    if _is_server(workspace):
        from sqlalchemy import text

        with workspace.database.write() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))


def trial_rows(study: Study) -> list[TrialRow]:
    """All trials in the order in which they were asked for."""
    choices = StudyFacts.of(study).choices
    return [_row(trial, choices) for trial in study.get_trials(deepcopy=False)]


def facts_attribute(facts: StudyFacts) -> dict[str, Any]:
    """The facts as JSON values."""
    return asdict(facts)


def _row(trial: FrozenTrial, choices: Mapping[str, list[Any]]) -> TrialRow:
    given = trial.user_attrs
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        params={name: decoded(name, value, choices) for name, value in trial.params.items()},
        values=tuple(trial.values or ()) if trial.state.name == "COMPLETE" else (),
        cell_id=str(given.get(CELL, "")),
        seconds=given.get(SECONDS),
        reason=str(given.get(REASON, "")),
        intermediate=dict(trial.intermediate_values),
        measured=dict(given.get(MEASURED, {})),
    )


def decoded(name: str, value: Any, choices: Mapping[str, list[Any]]) -> Any:
    """A parameter as the configuration has it; choices are stored by their text."""
    if name not in choices:
        return value
    return next(choice for choice in choices[name] if choice_text(choice) == value)


def choice_text(choice: Any) -> Any:
    """A choice as Optuna stores it: lists and mappings as text, plain values as they are."""
    return str(choice) if isinstance(choice, list | tuple | dict) else choice


def _runs(workspace: StudyPlace) -> list[str]:
    """Tuning runs with a storage of their own."""
    if not _is_server(workspace):
        journals = tuning_folder(workspace.root).glob("*/study.journal")
        return sorted(path.parent.name for path in journals)
    from sqlalchemy import inspect

    with workspace.database.read() as connection:
        has_tables = inspect(connection).has_table("studies", schema=SCHEMA)
    return ["-"] if has_tables else []


def _is_server(workspace: StudyPlace) -> bool:
    return bool(workspace.database_url) and not workspace.database_url.startswith("sqlite")


def _journal(file: Path) -> JournalFileBackend:
    from optuna.storages.journal import JournalFileBackend

    lock: Any = KernelLock(file)  # Optuna's own lock is a file that a killed process leaves behind
    return JournalFileBackend(str(file), lock_obj=lock)


class KernelLock:
    """Optuna's lock on a journal, held by the kernel: a killed process leaves none behind.

    Whoever gets it removes what a killed writer left of an unfinished line.
    """

    def __init__(self, file: Path) -> None:
        self._journal = file
        self._held: TextIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        try:
            self._held = self._journal.with_suffix(".lock").open("w")
        except OSError as error:
            raise StorageError(f"cannot lock {self._journal}: {error.strerror}") from error
        fcntl.flock(self._held, fcntl.LOCK_EX)
        cut_off_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Let go of the lock."""
        assert self._held is not None
        self._held.close()
        self._held = None


def importances(study: Study) -> dict[str, Mapping[str, float]]:
    """Metric -> setting -> share of the variance between complete trials, largest first (fANOVA,
    Hutter et al. 2014). A metric of which the trials cannot tell is left out.
    """
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return {
        name: _shares(study, index)
        for index, name in enumerate(StudyFacts.of(study).metrics)
        if len(done) >= FEWEST_TRIALS and len({trial.values[index] for trial in done}) > 1
    }


def _shares(study: Study, index: int) -> Mapping[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study,
        evaluator=FanovaImportanceEvaluator(seed=FOREST_SEED),
        target=lambda trial: float(trial.values[index]),
    )
