"""MLflow of a run with real artifacts: tables with pictures, data, and a model that loads."""

from __future__ import annotations

import html
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from starlette.testclient import TestClient

from threedrs_components.students.registry import open_student
from threedrs_dashboards.app import create_app
from threedrs_dashboards.runs import mlflow as mlflow_links
from threedrs_dashboards.testing.tiny_run import BASELINE, RUN, write_tiny_run
from threedrs_platform.database.events import post
from threedrs_platform.database.results import Results
from threedrs_platform.states import RunState
from threedrs_platform.tracking.machine import MachineWatch
from threedrs_platform.tracking.names import NOTE
from threedrs_platform.tracking.places import mend_links
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.tracking.evidence import RunEvidence
from threedrs_workflows.tracking.tracker import deliver_all, target_of


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One cell of the tiny run, delivered."""
    root = tmp_path_factory.mktemp("tracked") / "workspace"
    write_tiny_run(root)
    with find_workspace(str(root), environment={}) as opened:
        with opened.database.write() as connection:
            post(connection, RUN, "run.submitted", {})
            for cell in (BASELINE, "failed"):
                post(connection, RUN, "cell.finished", {"cell": cell, "seed": 1})
            post(connection, RUN, "run.finished", {})
        delivery = deliver_all(opened, {})
        assert (delivery.left, delivery.error) == (0, "")
        yield opened


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> Iterator[MlflowClient]:
    with pytest.MonkeyPatch.context() as patch:
        # `load_table` asks MLflow's default store, whatever its client is told: unless the default
        # is ours, that makes a `mlflow.db` in the current folder.
        patch.setenv("MLFLOW_TRACKING_URI", target_of(workspace, {}).uri)
        yield MlflowClient()


@pytest.fixture(scope="module")
def child(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    wanted = f"tags.`threedrs.cell` = '{BASELINE}'"
    (found,) = client.search_runs([experiment.experiment_id], wanted)
    return found


def test_the_model_is_loaded_back_from_mlflow(
    client: MlflowClient, child: Run, workspace: Workspace, tmp_path: Path
) -> None:
    uri = f"models:/{child.data.tags['threedrs.model_id']}"
    folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    loaded = open_student(folder)
    kept = open_student(workspace.store.checkout(child.data.tags["threedrs.checkpoint"]))
    weights = kept.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
    again = LlavaOnevisionForConditionalGeneration.from_pretrained(Path(folder) / "transformers")
    tensors = again.state_dict()
    assert all(torch.equal(value, weights[f"model.{name}"]) for name, value in tensors.items())


def test_answers_stand_in_tables_with_their_scores(client: MlflowClient, child: Run) -> None:
    experiment = child.info.experiment_id
    run_ids = [child.info.run_id]
    table = client.load_table(experiment, "evaluation/scanrefer.json", run_ids)
    assert {"scene", "question", "answer", "reference", "scanrefer/acc@0.25"} <= set(table)
    assert set(table["scanrefer/acc@0.25"]) == {0.0, 100.0}
    assert table["answer"].str.startswith(("box at", "no object")).all()
    answers = client.load_table(experiment, "evaluation/scanqa.json", run_ids)
    assert len(answers) > 3 and answers["reference"].str.len().min() > 0


def test_a_few_rows_show_their_scene(client: MlflowClient, child: Run, tmp_path: Path) -> None:
    run_ids = [child.info.run_id]
    name = "evaluation/scanrefer_seen.json"
    table = client.load_table(child.info.experiment_id, name, run_ids)
    assert 1 <= len(table) <= 3
    for picture in table["picture"]:
        path = client.download_artifacts(child.info.run_id, picture["filepath"], str(tmp_path))
        with Image.open(path) as image:
            assert image.width > 200 and len(set(image.convert("L").tobytes())) > 20


def test_data_and_notes_say_what_was_read_and_measured(child: Run) -> None:
    assert child.inputs is not None
    contexts = {each.dataset.name: each.tags[0].value for each in child.inputs.dataset_inputs}
    assert set(contexts.values()) == {"training", "evaluation"}
    note = child.data.tags["mlflow.note.content"]
    assert f"**{child.data.tags['cell']}**, seed 1" in note and "| scanrefer/acc@0.25 |" in note
    assert "workflows trace" in note


def test_the_parent_has_the_table_in_every_form(client: MlflowClient, child: Run) -> None:
    parent = client.get_run(child.data.tags["mlflow.parentRunId"])
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "report.csv", "report.tex", "grid.yaml", "cells.json"} <= files
    note = parent.data.tags["mlflow.note.content"]
    assert "| " in note and "workflows results" in note
    assert f"127.0.0.1:8365/table?run={RUN}" in note
    own = child.data.tags["mlflow.note.content"]
    assert f"127.0.0.1:8365/cell?run={RUN}&cell=" in own and "&seed=" in own


def test_every_link_of_a_note_opens_a_page_and_that_page_leads_back(
    workspace: Workspace, client: MlflowClient, child: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """MLflow's answers over HTTP, from its store."""
        if body is None:
            name = parse_qs(path.partition("?")[2])["experiment_name"][0]
            experiment = client.get_experiment_by_name(name)
            return {"experiment": {"experiment_id": experiment and experiment.experiment_id}}
        found = client.search_runs(body["experiment_ids"], body["filter"])
        return {"runs": [{"info": {"run_id": each.info.run_id}} for each in found]}

    monkeypatch.setattr(mlflow_links, "_ask", ask)
    app = create_app(find_workspace(str(workspace.root), environment={}), "http://127.0.0.1:5000")
    pages = TestClient(app, "http://127.0.0.1:8365")
    for run in (child, client.get_run(child.data.tags["mlflow.parentRunId"])):
        (link,) = re.findall(r"\]\(http://127.0.0.1:8365(/[^)]+)\)", run.data.tags[NOTE])
        page = pages.get(link)
        assert page.status_code == 200
        leads = [
            html.unescape(each) for each in re.findall(r'href="(/runs/mlflow[^"]+)"', page.text)
        ]
        back = {pages.get(each, follow_redirects=False).headers["Location"] for each in leads}
        assert back == {
            f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            "?workflowType=machine_learning"
        }
    app.state.store.close()


def test_notes_follow_the_pages_to_another_port(
    workspace: Workspace, client: MlflowClient, child: Run
) -> None:
    target = target_of(workspace, {})
    mine = "see [my board](http://127.0.0.1:6006/)"
    before = f"{child.data.tags[NOTE]} {mine}"
    client.set_tag(child.info.run_id, NOTE, before)
    mend_links(target, "http://127.0.0.1:9123")
    assert client.get_run(child.info.run_id).data.tags[NOTE] == before.replace(":8365/", ":9123/")
    mend_links(target, "http://127.0.0.1:8365")
    assert client.get_run(child.info.run_id).data.tags[NOTE] == before


def test_a_trial_of_tuning_keeps_its_model_to_itself(workspace: Workspace) -> None:
    results = Results(workspace.database).run_results(RUN, cell_ids=[BASELINE])
    trial = results.cells[0]
    evidence = RunEvidence(workspace)
    assert evidence.checkpoint(trial) is not None
    trial.params["held_out"] = 0.2  # type: ignore[index]
    assert evidence.checkpoint(trial) is None and not list(evidence.tables(trial))
    assert "held out" in evidence.cell_note(results, trial)
    assert evidence.cell_tags(trial)["tuning"] == "yes"


def test_system_metrics_of_the_machine_are_sampled_while_a_run_goes_on(
    workspace: Workspace, client: MlflowClient, child: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    watch = MachineWatch(target_of(workspace, {}), Results(workspace.database), RUN)
    watch.start()
    parent = child.data.tags["mlflow.parentRunId"]
    watch.stop()
    assert not _system(client, parent), "the run is over"
    with workspace.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE runs SET state = '{RunState.RUNNING}'")
    watch.start()
    assert client.get_run(parent).info.status == "RUNNING"
    end = time.monotonic() + 10
    while not _system(client, parent) and time.monotonic() < end:
        time.sleep(0.05)
    watch.stop()
    assert "system/cpu_utilization_percentage" in _system(client, parent)


def _system(client: MlflowClient, run_id: str) -> set[str]:
    return {name for name in client.get_run(run_id).data.metrics if name.startswith("system/")}
