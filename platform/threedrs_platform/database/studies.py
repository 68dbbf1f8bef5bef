"""Where studies of tuning are kept, what they are called, and what is known of each.

A tuning run has one study per arm, kept by Optuna: in one journal file of the workspace, or, where
the workspace's database is PostgreSQL, in that database (schema "optuna"). Tuning writes them, the
dashboards read them and say what mattered. Optuna is imported only when a study is opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar

from threedrs_platform.compute.recorder import cut_off_torn_line
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.trials import StudyFacts, StudyView, TrialRow, arm_name, choice_text
from threedrs_platform.database.turns import (
    HELD_PATIENCE_S,
    PATIENCE_S,
    TurnLost,
    holder_of,
    patience_with,
)
from threedrs_platform.errors import ConfigError, DataError, Fault, StorageError
from threedrs_platform.storage import place_errors

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

    from threedrs_platform.database.connection import Database

SCHEMA = "optuna"
"""PostgreSQL schema of Optuna's tables: their migrations stay apart from those of ours."""
FACTS = "threedrs"
"""User attribute of a study that holds its `StudyFacts`."""
CELL, SECONDS, REASON, MEASURED = "cell_id", "seconds", "reason", "measured"
"""User attributes of a trial: its cell, how long it took, why it ended early, its other metrics."""
RUN = "run_id"
"""User attribute of a trial: the run whose process works on it, or ended it."""
KEYS = "step_keys"
"""User attribute of a trial: seed and role -> key of the step, of the steps that measure it."""
OUT_OF_DATE = "out_of_date"
"""User attribute of a study: number -> why, of the trials of the study before it."""
REPLACES, REPLACED_BY = "replaces", "replaced_by"
"""User attributes of a study: the one before it, and the one that goes on in its place."""
FEWEST_TRIALS = 4
"""Fewer complete trials say nothing about what mattered."""
FOREST_SEED = 0
"""Of the random forest behind importances: the same trials give the same shares everywhere."""
TAKEN = "another process"
LOCK_S, LOCK_POLL_S = 2.0, 0.02
"""How long one try to have a tuning run to oneself lasts, and how often it is looked at."""
T = TypeVar("T")


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


def study_name(run: str, arm: Mapping[str, Any]) -> str:
    """A study's name in its storage: `<tuning run>/<arm>`."""
    return f"{run}/{arm_name(arm)}"


def tuning_folder(root: Path, run: str = "") -> Path:
    """Folder of a workspace for a tuning run's journal, tables and plots, or for all of them."""
    return root / "tuning" / run if run else root / "tuning"


def journal_file(root: Path, run: str) -> Path:
    """The journal that holds the studies of one tuning run."""
    return tuning_folder(root, run) / "study.journal"


def find_studies(workspace: StudyPlace) -> tuple[list[str], list[str]]:
    """All studies of a workspace by name, and what is wrong with storages that cannot be read.

    Creates nothing.
    """
    import optuna

    names: list[str] = []
    damages: list[str] = []
    for run in _runs(workspace):
        try:
            names += optuna.get_all_study_names(open_storage(workspace, run))
        except DataError as error:
            damages.append(str(error))
    return sorted(names), damages


def study_names(workspace: StudyPlace, run: str = "") -> list[str]:
    """Studies of one tuning run, or all that can be read. Creates nothing.

    Raises:
        DataError: its journal is damaged.
    """
    import optuna

    if not run:
        return find_studies(workspace)[0]
    if not (_is_server(workspace) or journal_file(workspace.root, run).exists()):
        return []
    known = optuna.get_all_study_names(open_storage(workspace, run)) if _runs(workspace) else []
    return sorted(name for name in known if name.startswith(f"{run}/"))


def load_study(workspace: StudyPlace, name: str) -> Study:
    """A study by its name, for reading.

    Raises:
        ConfigError: there is none.
        DataError: its journal is damaged.
    """
    import optuna

    run = name.partition("/")[0]
    if run not in ("", "..") and name in study_names(workspace, run):
        return optuna.load_study(study_name=name, storage=open_storage(workspace, run))
    hint = did_you_mean(name, study_names(workspace))
    raise ConfigError([Fault(f"there is no study {name!r}{hint}")])


def open_storage(workspace: StudyPlace, run: str) -> BaseStorage:
    """Storage of a tuning run's studies, created if need be.

    Raises:
        DataError: its journal is damaged.
    """
    from optuna.storages import RDBStorage

    if _is_server(workspace):
        from sqlalchemy.pool import NullPool  # nobody closes an Optuna storage: keep nothing open

        search_path = {"options": f"-csearch_path={SCHEMA}"}
        kept = {"connect_args": search_path, "poolclass": NullPool}
        url = workspace.database_url
        return patiently(workspace, lambda: RDBStorage(url, engine_kwargs=kept))
    file = journal_file(workspace.root, run)
    with place_errors(f"write {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        return _read_journal(file)


def patiently(workspace: StudyPlace, work: Callable[[], T]) -> T:
    """Do something with studies, again from the start while their server or their lock is away.

    It must bear to be done twice: the answer to a change may be lost. See `Database.patiently`.

    Raises:
        StorageError: patience is over.
    """

    def turn() -> T:
        with _lost_turns(workspace):
            return work()

    return workspace.database.patiently(turn)


@contextlib.contextmanager
def _lost_turns(workspace: StudyPlace) -> Iterator[None]:
    """Tell a server that is away from all else that Optuna or SQLAlchemy may raise."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import exc

    from threedrs_platform.database.engines import told

    try:
        yield
    except (StorageInternalError, exc.SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if isinstance(cause, exc.DBAPIError) and _is_of_the_server(cause):
            message = told("reach the studies in", workspace.database.engine, cause)
            raise TurnLost(message) from error
        if isinstance(cause, exc.PendingRollbackError):
            raise TurnLost(f"cannot reach the studies: {cause}") from error
        raise


def _is_of_the_server(error: DBAPIError) -> bool:
    """Whether a connection was lost, or could not be had: then there is no code."""
    from sqlalchemy.exc import OperationalError

    is_silent = isinstance(error, OperationalError) and not getattr(error.orig, "sqlstate", None)
    return is_silent or patience_with(error) is not None


@contextlib.contextmanager
def exclusively(workspace: StudyPlace, run: str) -> Iterator[None]:
    """One process of all that work on a tuning run at a time: to ask for trials and to end them.

    The kernel or the server gives the lock of a killed process back. Not reentrant. Within
    `patiently` it is waited for as long as for a database.

    Raises:
        TurnLost: another process has it, or it was lost while it was held.
    """
    if _is_server(workspace):
        with _advisory_lock(workspace, run):
            yield
        return
    file = tuning_folder(workspace.root, run) / "study.turn"
    with place_errors(f"lock {file}"):
        file.parent.mkdir(parents=True, exist_ok=True)
        held = file.open("w")
    with held:
        _lock(held, file)
        yield


@contextlib.contextmanager
def _advisory_lock(workspace: StudyPlace, run: str) -> Iterator[None]:
    """Of a session, in no transaction: the server ends transactions that do nothing for long."""
    from sqlalchemy import text

    key = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], signed=True)
    with workspace.database.engine.connect() as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        ask = text("SELECT pg_try_advisory_lock(:key)")
        _try_until(lambda: bool(session.scalar(ask, {"key": key})), lambda: (TAKEN, False))
        try:
            yield
        except BaseException:
            _unlock(session, key)
            raise
        if not _unlock(session, key):
            raise TurnLost("the lock of the tuning run was lost while it was held")


def _unlock(session: Connection, key: int) -> bool:
    """Give an advisory lock back; whether it was still there."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    try:
        return bool(session.scalar(text("SELECT pg_advisory_unlock(:key)"), {"key": key}))
    except DBAPIError:  # the session is gone, and its lock with it
        session.invalidate()
        return False


def _lock(held: TextIO, file: Path) -> None:
    """Lock an open file.

    Raises:
        TurnLost: another process has it for longer than one try lasts.
    """

    def is_locked() -> bool:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    _try_until(is_locked, lambda: holder_of(file))


def _try_until(is_locked: Callable[[], bool], holder: Callable[[], tuple[str, bool]]) -> None:
    """Ask for a lock until it is had, or one try is over; `holder` says who has it."""
    end = time.monotonic() + LOCK_S
    while not is_locked():
        if time.monotonic() >= end:
            who, is_stopped = holder()
            cure = ", which is stopped: `kill -CONT` lets it go on" if is_stopped else ""
            patience_s = HELD_PATIENCE_S if is_stopped else PATIENCE_S
            raise TurnLost(f"the tuning run is held by {who}{cure}", patience_s)
        time.sleep(LOCK_POLL_S)


def prepare_storage(workspace: StudyPlace) -> None:
    """Make room for Optuna's tables; without effect on journal files."""
    if _is_server(workspace):
        from sqlalchemy import text

        def make() -> None:
            with workspace.database.write() as connection:
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))

        workspace.database.patiently(make)


def keep_facts(study: Study, facts: StudyFacts) -> None:
    """Write down what a study searches."""
    study.set_user_attr(FACTS, asdict(facts))


def facts_of(study: Study) -> StudyFacts:
    """What a study searches."""
    return StudyFacts.of(study.user_attrs[FACTS])


def read_study(study: Study, with_importance: bool = True) -> StudyView:
    """A study's trials in the order in which they were asked for, and what they say.

    Args:
        with_importance: say what mattered, too, which takes a moment.
    """
    facts, known = facts_of(study), study.user_attrs
    rows = [
        _row(trial, facts.choices)
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name != "WAITING"
    ]
    view = StudyView(
        study.study_name,
        facts,
        tuple(rows),
        replaces=known.get(REPLACES, ""),
        # JSON has no numbers for keys
        out_of_date={int(number): why for number, why in known.get(OUT_OF_DATE, {}).items()},
        replaced_by=known.get(REPLACED_BY, ""),
    )
    return replace(view, importance=importances(study, view) if with_importance else {})


def _row(trial: FrozenTrial, choices: Mapping[str, list[Any]]) -> TrialRow:
    given = trial.user_attrs
    has_ended_well = trial.state.name in ("COMPLETE", "PRUNED")
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        params={name: decoded(name, value, choices) for name, value in trial.params.items()},
        # Optuna gives a pruned trial its last intermediate value for a value
        values=tuple(trial.values or ()) if trial.state.name == "COMPLETE" else (),
        cell_id=str(given.get(CELL, "")),
        run_id=str(given.get(RUN, "")),
        seconds=given.get(SECONDS),
        reason=str(given.get(REASON, "")),
        intermediate=dict(trial.intermediate_values),
        measured=dict(given.get(MEASURED, {})),
        has_keys=KEYS in given or not has_ended_well,
    )


def decoded(name: str, value: Any, choices: Mapping[str, list[Any]]) -> Any:
    """A parameter as the configuration has it; choices are stored by their text."""
    if name not in choices:
        return value
    return next(choice for choice in choices[name] if choice_text(choice) == value)


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


def _read_journal(file: Path) -> BaseStorage:
    from optuna.exceptions import OptunaError
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lock: Any = KernelLock(file)  # Optuna's own lock is a file that a killed process leaves behind
    try:
        storage = JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
        _check_last_line(file)
        return storage
    except (OptunaError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as e:
        raise DataError(
            f"{file}: the journal of this tuning run is damaged ({type(e).__name__}: {e}); restore "
            "it, or move it away: the search then starts anew and finds its trainings done"
        ) from e


def _check_last_line(file: Path) -> None:
    """Optuna takes a last line that it cannot read for one that is being written, and skips it."""
    *_, last, rest = (b"", *file.read_bytes().rsplit(b"\n", 2))
    if last and not rest:
        json.loads(last)


class KernelLock:
    """Optuna's lock on a journal, held by the kernel: a killed process leaves none behind.

    Whoever gets it removes what a killed writer left of an unfinished line.
    """

    def __init__(self, file: Path) -> None:
        self._journal = file
        self._held: TextIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock.

        Raises:
            TurnLost: another process keeps it.
        """
        file = self._journal.with_suffix(".lock")
        try:
            held = file.open("w")
        except OSError as error:
            raise StorageError(f"cannot lock {self._journal}: {error.strerror}") from error
        try:
            _lock(held, file)
        except BaseException:
            held.close()
            raise
        self._held = held
        cut_off_torn_line(self._journal)
        return True

    def release(self) -> None:
        """Let go of the lock."""
        assert self._held is not None
        self._held.close()
        self._held = None


def importances(study: Study, view: StudyView) -> dict[str, Mapping[str, float]]:
    """Metric -> setting -> share of the variance between complete trials, largest first (fANOVA,
    Hutter et al. 2014). A metric of which the trials cannot tell is left out.
    """
    done = view.complete
    return {
        name: _shares(study, index)
        for index, name in enumerate(view.facts.metrics)
        if len(done) >= FEWEST_TRIALS and len({trial.values[index] for trial in done}) > 1
    }


def _shares(study: Study, index: int) -> Mapping[str, float]:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(
        study,
        evaluator=FanovaImportanceEvaluator(seed=FOREST_SEED),
        target=lambda trial: float(trial.values[index]),
    )
