"""`verify` and `gc`: what they find, what they spare, what they say."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from threedrs_platform import diagnosis
from threedrs_platform.compute.scratch import scratch_of
from threedrs_platform.database import schema
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.errors import ConfigError
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main
from threedrs_workflows.testing.engine_bench import Engine


def call(capsys: pytest.CaptureFixture[str], engine: Engine, *arguments: str) -> tuple[int, Any]:
    code = main([*arguments, "--json", "--workspace", str(engine.workspace.root)])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def done(engine: Engine) -> Engine:
    engine.submit([fake_cell("a", {"noop": fake_step("noop")})])
    return engine


def test_an_intact_store_is_verified(done: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    code, content = call(capsys, done, "verify", "--deep")
    assert (code, content["checked"], content["bad"]) == (0, 1, [])


def test_a_damaged_artifact_is_named_with_its_step(
    done: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    (done.artifact("noop").parent / "MANIFEST.json").unlink()
    code, content = call(capsys, done, "verify")
    assert code == 8
    assert [(bad["health"], bad["step"]) for bad in content["bad"]] == [("corrupt", "noop")]


def test_collection_spares_artifacts_of_kept_runs(
    done: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = call(capsys, done, "gc", "--older-than", "0", "--keep-runs", "1", "--apply")[1]
    assert (kept["kept"], kept["artifacts"]) == (1, [])
    gone = call(capsys, done, "gc", "--older-than", "0", "--keep-runs", "0", "--apply")[1]
    assert gone["artifacts"] == [done.row("noop").output_digest]
    assert call(capsys, done, "verify")[1]["bad"][0]["health"] == "missing"


def test_collection_is_a_dry_run_unless_applied(
    done: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, done, "gc", "--older-than", "0", "--keep-runs", "0")
    assert call(capsys, done, "verify")[0] == 0


def test_scratch_of_unfinished_steps_stays(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.submit([fake_cell("a", {"fail": fake_step("fail")})])
    scratch = engine.workspace.scratch
    unfinished = scratch_of(scratch, engine.row("fail").key, "1" * 64)
    forgotten = scratch_of(scratch, "0" * 64, "1" * 64)
    for each in (unfinished, forgotten):
        each.mkdir(parents=True)
    content = call(capsys, engine, "gc", "--apply")[1]
    assert content["scratch"] == [forgotten.name]
    assert unfinished.is_dir() and not forgotten.exists()


def test_a_workspace_that_is_not_there_yet_has_the_disk_above_it(tmp_path: Path) -> None:
    finding = diagnosis._disk(tmp_path / "not" / "there")
    assert "GB free" in finding.message


def test_artifacts_of_a_run_that_can_be_resumed_are_kept(
    done: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with done.workspace.database.write() as connection:
        connection.execute(update(schema.runs).values(state="interrupted"))
    kept = call(capsys, done, "gc", "--older-than", "0", "--keep-runs", "0", "--apply")[1]
    assert (kept["kept"], kept["artifacts"]) == (1, [])


def test_foreign_files_in_the_store_are_told_and_stop_nothing(
    done: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = done.artifact("noop").parent
    (folder / "files" / ".DS_Store").write_text("Finder was here")
    (folder.parent / ".DS_Store").write_text("and here")
    (folder.parent.parent / "link").symlink_to("/")
    (folder.parent / ("0" * 64)).symlink_to("/")
    assert call(capsys, done, "verify", "--deep")[0] == 0
    content = call(capsys, done, "gc", "--older-than", "0", "--keep-runs", "0", "--apply")[1]
    shelf = folder.parent.name
    assert content["ignored"] == [
        f"objects/{shelf}/.DS_Store",
        f"objects/{shelf}/{'0' * 64}",
        "objects/link",
    ]
    assert content["artifacts"] == [folder.name] and Path("/etc").is_dir()


def test_a_second_store_on_one_database_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "shared.db")
    with find_workspace(str(tmp_path / "a"), url, environment={}) as first:
        first.claim_store()
    (tmp_path / "a").rename(tmp_path / "moved")
    with find_workspace(str(tmp_path / "moved"), url, environment={}) as moved:
        moved.claim_store()
    with find_workspace(str(tmp_path / "b"), url, environment={}) as second:
        with pytest.raises(ConfigError, match=r"another store than .*/b/artifacts"):
            second.claim_store()
        second.claim_store(adopt=True)
        second.claim_store()


def test_a_workspace_whose_artifacts_were_removed_goes_on(tmp_path: Path) -> None:
    with find_workspace(str(tmp_path / "a"), environment={}) as first:
        first.claim_store()
    shutil.rmtree(tmp_path / "a" / "artifacts")
    with find_workspace(str(tmp_path / "a"), environment={}) as again:
        again.claim_store()
    with find_workspace(str(tmp_path / "a"), environment={}) as once_more:
        once_more.claim_store()


@pytest.mark.parametrize("beside", [(), ("-wal",), ("-wal", "-shm")])
def test_an_archived_workspace_is_read_and_left_as_it_is(
    done: Engine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    beside: tuple[str, ...],
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    database = done.workspace.root / "results.db"
    if not beside:
        done.workspace.database.close()
    for ending in ("", *beside):  # an open database keeps the last commits in its log
        shutil.copy(f"{database}{ending}", archive)
    before = {path: path.read_bytes() for path in archive.iterdir()}
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    for verb in (["status"], ["status", "--list"], ["events"]):
        assert main([*verb, "--json", "--workspace", str(archive)]) == 0
    assert '"succeeded"' in capsys.readouterr().out
    if "-shm" not in beside:
        assert {path: path.read_bytes() for path in archive.iterdir()} == before
