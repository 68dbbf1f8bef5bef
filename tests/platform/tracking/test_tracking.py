"""MLflow from the outbox: complete, once, and never in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import optuna
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from sqlalchemy import Connection, text

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.events import post
from threedrs_platform.database.measurements import CellResult, RunResults
from threedrs_platform.database.outbox import (
    MOST_TRIES,
    Message,
    count_open,
    mark_delivered,
    sole_deliverer,
    try_again,
    why_open,
)
from threedrs_platform.database.results import Results
from threedrs_platform.database.studies import open_storage, prepare_storage, study_names
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import DataError
from threedrs_platform.states import StepState
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.tracking import cells as tracked_cells
from threedrs_platform.tracking import delivery as tracking
from threedrs_platform.tracking.delivery import attach_folder, deliver, local_target
from threedrs_platform.tracking.evidence import Checkpoint, DatasetFacts, Evidence, Table
from threedrs_platform.tracking.machine import MachineWatch
from threedrs_platform.tracking.names import tracked_name
from threedrs_platform.tracking.places import Target
from threedrs_platform.workspace import Workspace

pytestmark = pytest.mark.whole

CELLS: tuple[tuple[str, int], ...] = (("id-baseline", 1), ("id-vggt", 1))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: making them takes seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def target(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    shutil.copy(template, tmp_path / "mlflow.db")
    monkeypatch.setattr(tracked_cells, "METRICS_PER_BATCH", 100)
    return local_target(tmp_path, None, git_commit="c0ffee")


@pytest.fixture(params=database_kinds())
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as url:
        opened = open_database(url)
        store_run(opened, study(), points={"key-vggt-1": curve()})
        announce(opened)
        yield opened
        opened.close()


def study() -> RunResults:
    params = {"vggt": {"teacher": "vggt", "alignment": {"weight": 3.0, "layers": [-1]}}}
    return fake_results(
        {"baseline": {1: {"acc@0.25": 24.9}}, "vggt": {1: {"acc@0.25": 48.2}}}, params
    )


def curve() -> list[CurvePoint]:
    return [CurvePoint(step, "loss", 1 / (1 + step)) for step in range(250)]


def announce(database: Database) -> None:
    with database.write() as connection:
        post(connection, "run-1", "run.submitted", {})
        for cell, seed in CELLS:
            post(connection, "run-1", "cell.finished", {"cell": cell, "seed": seed})
        post(connection, "run-1", "run.finished", {})


class NotesAndFiles(Evidence):
    """Has a report of every run."""

    def run_files(self, run_id: str) -> Mapping[str, str]:
        return {"report.txt": "table"}


def runs_of(target: Target, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    client = MlflowClient(target.uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], run_view_type=view)
    return {run.info.run_name: run for run in found}


def history(target: Target, run: Run, metric: str) -> list[Any]:
    return list(MlflowClient(target.uri).get_metric_history(run.info.run_id, metric))


def test_a_submission_becomes_a_parent_and_a_child_per_cell(
    database: Database, tmp_path: Path, target: Target
) -> None:
    delivery = deliver(database, tmp_path, target, NotesAndFiles())
    assert (delivery.delivered, delivery.left, delivery.error) == (4, 0, "")
    runs = runs_of(target)
    assert set(runs) == {"run-1", "baseline seed 1", "vggt seed 1"}
    parent, child = runs["run-1"], runs["vggt seed 1"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert "key-vggt-1" in child.data.tags["threedrs.steps"]
    assert child.data.params["alignment.weight"] == "3.0"
    assert child.data.params["alignment.layers"] == "[-1]"
    assert child.data.metrics["acc_at_0.25"] == 48.2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    loss = history(target, child, "finetune/loss")
    assert sorted(point.step for point in loss) == list(range(250))
    client = MlflowClient(target.uri)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["report.txt"]
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["config.json"]


def test_nothing_to_tell_opens_no_tracker(
    database: Database, tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(database, tmp_path, target)
    monkeypatch.setattr(tracking, "Server", lambda target: pytest.fail("opened MLflow"))
    assert deliver(database, tmp_path, target).delivered == 0


@pytest.mark.parametrize("kind", ["cell.finished", "run.finished"])
def test_a_crash_between_mlflow_and_the_done_mark_logs_nothing_twice(
    kind: str,
    database: Database,
    tmp_path: Path,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(database: Database, messages: Sequence[Message]) -> None:
        if messages[-1].kind == kind:
            raise KeyboardInterrupt
        mark_delivered(database, messages)

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "mark_delivered", crash)
        with pytest.raises(KeyboardInterrupt):
            deliver(database, tmp_path, target)
    assert deliver(database, tmp_path, target).left == 0
    runs = runs_of(target, ViewType.ALL)
    assert sorted(runs) == ["baseline seed 1", "run-1", "vggt seed 1"]
    assert len(history(target, runs["vggt seed 1"], "finetune/loss")) == 250
    assert len(history(target, runs["vggt seed 1"], "acc_at_0.25")) == 1


def test_a_child_left_half_written_is_written_anew(
    database: Database, tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def fail_late(self: MlflowClient, run_id: str, **batch: Any) -> None:
        batches.append(batch)
        if len(batches) == 5:
            raise KeyboardInterrupt
        original(self, run_id, **batch)

    original = MlflowClient.log_batch
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", fail_late)
        with pytest.raises(KeyboardInterrupt):
            deliver(database, tmp_path, target)
    assert runs_of(target)["vggt seed 1"].data.tags.get("threedrs.complete") is None
    assert deliver(database, tmp_path, target).left == 0
    assert sorted(runs_of(target)) == ["baseline seed 1", "run-1", "vggt seed 1"]
    assert len(history(target, runs_of(target)["vggt seed 1"], "finetune/loss")) == 250


def test_a_failing_server_loses_nothing(database: Database, tmp_path: Path, target: Target) -> None:
    broken = Target("sqlite:////proc/no-such-folder/mlflow.db")
    delivery = deliver(database, tmp_path, broken)
    assert (delivery.delivered, delivery.left) == (0, 4)
    assert delivery.error
    assert deliver(database, tmp_path, target).delivered == 4


class Poisoned(Evidence):
    """Cannot write the model of one cell."""

    def __init__(self) -> None:
        self.asked = 0

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        if cell.cell_id == "id-baseline":
            self.asked += 1
            raise RuntimeError("some tensors share memory\nand more")
        return None


def test_a_message_that_cannot_be_delivered_blocks_no_other_and_keeps_its_cause(
    database: Database, tmp_path: Path, target: Target
) -> None:
    poisoned = Poisoned()
    cause = "run-1, cell id-baseline seed 1: RuntimeError: some tensors share memory"
    first = deliver(database, tmp_path, target, poisoned)
    assert (first.delivered, first.left, first.error) == (3, 1, cause)
    runs = runs_of(target)
    assert runs["vggt seed 1"].info.status == runs["run-1"].info.status == "FINISHED"
    assert why_open(database) == cause
    for _ in range(MOST_TRIES):
        deliver(database, tmp_path, target, poisoned)
    assert poisoned.asked == MOST_TRIES  # then it is set aside, and what comes later passes
    announce(database)
    assert deliver(database, tmp_path, target, poisoned).delivered == 3
    try_again(database)
    assert deliver(database, tmp_path, target).left == 0
    assert why_open(database) == ""
    assert runs_of(target)["baseline seed 1"].info.status == "FINISHED"


def test_a_silent_server_counts_against_no_message(
    database: Database, tmp_path: Path, target: Target
) -> None:
    broken = Target("sqlite:////proc/no-such-folder/mlflow.db")
    for _ in range(MOST_TRIES + 1):
        error = deliver(database, tmp_path, broken).error
    assert why_open(database) == error
    assert deliver(database, tmp_path, target).left == 0


def test_a_second_report_of_an_unchanged_cell_is_skipped(
    database: Database, tmp_path: Path, target: Target
) -> None:
    deliver(database, tmp_path, target)
    before = {name: run.info.run_id for name, run in runs_of(target).items()}
    announce(database)
    deliver(database, tmp_path, target)
    assert {name: run.info.run_id for name, run in runs_of(target).items()} == before


def test_a_cell_that_failed_and_was_retried_shows_its_last_state(
    tmp_path: Path, target: Target
) -> None:
    other = open_database(sqlite_url(tmp_path / "other.db"))
    failed = {("vggt", 1): (StepState.FAILED, "out of memory")}
    store_run(other, fake_results({"vggt": {1: {"acc": 1.0}}}, failures=failed))
    with other.write() as connection:
        post(connection, "run-1", "cell.finished", {"cell": "id-vggt", "seed": 1})
    deliver(other, tmp_path, target)
    assert runs_of(target)["vggt seed 1"].info.status == "FAILED"
    with other.write() as connection:
        connection.exec_driver_sql("UPDATE steps SET state = 'succeeded', message = NULL")
        connection.exec_driver_sql("UPDATE cells SET state = 'succeeded'")
        post(connection, "run-1", "cell.finished", {"cell": "id-vggt", "seed": 1})
    deliver(other, tmp_path, target)
    (child,) = (run for name, run in runs_of(target).items() if name == "vggt seed 1")
    assert (child.info.status, child.data.metrics) == ("FINISHED", {"acc": 1.0})
    other.close()


class Rich(Evidence):
    """Tells everything, the same of every cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")

    def run_note(self, results: RunResults) -> str:
        return "# The study"

    def cell_tags(self, cell: CellResult) -> Mapping[str, str]:
        return {"teacher": str(cell.params.get("teacher", "none"))}

    def cell_note(self, results: RunResults, cell: CellResult) -> str:
        return f"**{cell.title}**"

    def datasets(self, cell: CellResult) -> Sequence[DatasetFacts]:
        return [DatasetFacts("micro train", "d" * 64, "training", "file:///a", {"samples": 7})]

    def tables(self, cell: CellResult) -> Iterator[tuple[str, Table]]:
        yield "evaluation/scanqa.json", {"question": ["where?", "what?"], "answer": ["a", "b"]}

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        return Checkpoint(self.folder, "c" * 64, "llava_video")


def test_nothing_is_written_into_the_current_folder(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own default is a `mlflow.db` there, made by whatever forgets to name our store."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with Workspace(tmp_path, "", "") as workspace:
        store_run(workspace.database, study())
        announce(workspace.database)
        results = Results(workspace.database)
        deliver(workspace.database, tmp_path, target, Rich(tmp_path / "model"))
        with workspace.database.write() as connection:
            connection.execute(text("UPDATE runs SET state = 'running'"))
        watch = MachineWatch(target, results, "run-1")
        watch.start()
        watch.stop()
        attach_folder(target, results.find_run("run-1"), tmp_path / "model", "report")
        prepare_storage(workspace)
        optuna.create_study(study_name="study/all", storage=open_storage(workspace, "study"))
        assert study_names(workspace) == ["study/all"]
    assert list(here.iterdir()) == []


def models_of(target: Target) -> list[Any]:
    client = MlflowClient(target.uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    return list(client.search_logged_models([experiment.experiment_id]))


def test_a_cell_has_its_note_tags_data_tables_and_model(
    database: Database, tmp_path: Path, target: Target
) -> None:
    deliver(database, tmp_path, target, Rich(tmp_path / "model"))
    runs = runs_of(target)
    parent, child = runs["run-1"], runs["vggt seed 1"]
    assert parent.data.tags["mlflow.note.content"] == "# The study"
    assert child.data.tags["mlflow.note.content"] == "**vggt**"
    assert child.inputs is not None and child.outputs is not None
    (data,) = child.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("micro train", "d" * 36)
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    client = MlflowClient(target.uri)
    assert "evaluation" in [each.path for each in client.list_artifacts(child.info.run_id)]
    model = client.get_logged_model(child.data.tags["threedrs.model_id"])
    assert (model.source_run_id, str(model.status)) == (child.info.run_id, "READY")
    assert model.model_type == "llava_video"
    assert [each.model_id for each in child.outputs.model_outputs] == [model.model_id]


def test_runs_are_found_by_their_tags(database: Database, tmp_path: Path, target: Target) -> None:
    deliver(database, tmp_path, target, Rich(tmp_path / "model"))
    client = MlflowClient(target.uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None

    def found(wanted: str) -> list[str]:
        runs = client.search_runs([experiment.experiment_id], wanted)
        return sorted(str(run.info.run_name) for run in runs)

    assert found("tags.teacher = 'vggt'") == ["vggt seed 1"]
    assert found("tags.kind = 'submission'") == ["run-1"]
    assert found("tags.kind = 'cell'") == ["baseline seed 1", "vggt seed 1"]
    assert found("tags.kind = 'cell' and metrics.`acc_at_0.25` > 40") == ["vggt seed 1"]
    assert found("params.`alignment.weight` = '3.0'") == ["vggt seed 1"]


def test_a_cell_that_was_computed_before_points_at_its_first_run(
    database: Database, tmp_path: Path, target: Target
) -> None:
    evidence = Rich(tmp_path / "model")
    deliver(database, tmp_path, target, evidence)
    first = runs_of(target)["vggt seed 1"]
    with database.write() as connection:
        copy_run(connection, "run-1", "run-2")
        post(connection, "run-2", "cell.finished", {"cell": "id-vggt", "seed": 1})
        post(connection, "run-2", "run.finished", {})
    assert deliver(database, tmp_path, target, evidence).left == 0
    client = MlflowClient(target.uri)
    same = client.search_runs(
        [first.info.experiment_id], f"tags.`threedrs.same_as` = '{first.info.run_id}'"
    )
    (copy,) = same
    assert copy.data.tags["threedrs.run"] == "run-2" and copy.info.run_id != first.info.run_id
    assert copy.data.params == first.data.params
    assert copy.data.metrics == {"acc_at_0.25": 48.2}
    assert first.info.run_id in copy.data.tags["mlflow.note.content"]
    assert copy.data.tags["threedrs.model_id"] == first.data.tags["threedrs.model_id"]
    assert client.list_artifacts(copy.info.run_id) == []
    assert len(models_of(target)) == len(CELLS)


def copy_run(connection: Connection, old: str, new: str) -> None:
    """Another submission of the same cells."""
    for table, key in (("runs", "id"), ("cells", "run_id"), ("cell_steps", "run_id")):
        rows = connection.execute(text(f"SELECT * FROM {table} WHERE {key} = '{old}'"))
        for row in rows.mappings().all():
            values = {**row, key: new}
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


def test_a_model_left_half_logged_is_not_there_twice(
    database: Database, tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = Rich(tmp_path / "model")

    def die(self: MlflowClient, *arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_outputs", die)
        with pytest.raises(KeyboardInterrupt):
            deliver(database, tmp_path, target, evidence)
    assert deliver(database, tmp_path, target, evidence).left == 0
    assert sorted(model.source_run_id for model in models_of(target)) == sorted(
        run.info.run_id for name, run in runs_of(target).items() if name != "run-1"
    )


def test_what_an_artifact_had_is_left_out_when_it_is_gone(
    database: Database, tmp_path: Path, target: Target
) -> None:
    class Gone(Rich):
        def checkpoint(self, cell: CellResult) -> Checkpoint | None:
            raise DataError("artifact abc is missing")

    assert deliver(database, tmp_path, target, Gone(tmp_path / "model")).error == ""
    child = runs_of(target)["vggt seed 1"]
    assert child.info.status == "FINISHED"
    assert child.data.tags["threedrs.left_out"] == "artifact abc is missing"


def test_messages_of_a_removed_run_do_not_block_the_rest(
    database: Database, tmp_path: Path, target: Target
) -> None:
    with database.write() as connection:
        post(connection, "gone", "cell.finished", {"cell": "x", "seed": 1})
    assert deliver(database, tmp_path, target).left == 0
    assert {run.name for run in Results(database).run_summaries()} == {"study"}


def test_two_deliverers_do_not_meet(database: Database, tmp_path: Path, target: Target) -> None:
    with sole_deliverer(database, tmp_path) as mine:
        assert mine
        assert deliver(database, tmp_path, target).delivered == 0
    assert count_open(database) == 4


@pytest.mark.parametrize(
    ("name", "tracked"),
    [
        ("scanrefer/acc@0.25/position", "scanrefer/acc_at_0.25/position"),
        ("probe_teacher:probe/score", "probe_teacher_probe/score"),
        ("training.steps", "training.steps"),
    ],
)
def test_names_are_made_fit_for_mlflow(name: str, tracked: str) -> None:
    assert tracked_name(name) == tracked


def test_a_server_of_the_team_decides_about_files_itself(tmp_path: Path) -> None:
    assert local_target(tmp_path, "http://mlflow:5000").artifacts is None
    assert local_target(tmp_path, None).uri == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_a_copied_workspace_keeps_its_attachments_to_itself(
    database: Database, target: Target, tmp_path: Path
) -> None:
    deliver(database, tmp_path, target, NotesAndFiles())
    copy = tmp_path / "copy % of ?"
    copy.mkdir()
    shutil.copy(tmp_path / "mlflow.db", copy)
    shutil.move(tmp_path / "mlartifacts", copy)
    moved = local_target(copy, None)
    _artifact_repos_cache.clear()  # in life a copy is written by another process
    with database.write() as connection:
        connection.execute(text("UPDATE steps SET key = 'other-vggt' WHERE key = 'key-vggt-1'"))
        connection.execute(
            text("UPDATE cell_steps SET step_key = 'other-vggt' WHERE step_key = 'key-vggt-1'")
        )
    announce(database)
    assert deliver(database, copy, moved, NotesAndFiles()).error == ""
    assert not (tmp_path / "mlartifacts").exists()
    for run in runs_of(moved).values():
        assert run.info.artifact_uri.startswith(copy.as_uri())
        assert MlflowClient(moved.uri).list_artifacts(run.info.run_id)


def test_a_damaged_message_lets_the_others_pass(
    database: Database, target: Target, tmp_path: Path
) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE outbox SET payload_json = '{' WHERE id = 2"))
    found = deliver(database, tmp_path, target)
    assert (found.delivered, found.left) == (3, 1)
    assert why_open(database).startswith("run-1, message 2: JSONDecodeError")


def test_a_secret_of_a_server_is_not_kept(database: Database, tmp_path: Path) -> None:
    server = Target("http://me:hunter2@127.0.0.1:1/?token=hunter2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        found = deliver(database, tmp_path, server)
    assert found.left == 4 and "127.0.0.1" in found.error + why_open(database)
    assert "hunter2" not in found.error + why_open(database)


def test_what_happens_while_tracking_is_off_is_never_told(tmp_path: Path) -> None:
    with Workspace(tmp_path, "", "", tracks=False) as workspace:
        announce(workspace.database)
    with Workspace(tmp_path, "", "") as workspace:
        assert count_open(workspace.database) == 0
