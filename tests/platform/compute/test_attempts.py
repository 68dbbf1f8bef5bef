import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from threedrs_platform.compute import attempts
from threedrs_platform.compute.attempts import (
    AttemptReport,
    AttemptRequest,
    classify,
    describe,
    execute,
)
from threedrs_platform.compute.recorder import StepCancelled, read_json_lines
from threedrs_platform.compute.scratch import attempt_folders, clean_up
from threedrs_platform.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    Fault,
    SceneError,
    StepFailed,
    StorageError,
)
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.identity.source_code import code_digest
from threedrs_platform.sealed import is_sound, keep_sound, seal_folder, write_sealed
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import Resources, StepTask
from threedrs_platform.storage import storage_error
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.open import StoreAddress
from threedrs_platform.testing.fake_cells import FAKE
from threedrs_platform.testing.store_contract import corrupt_file, make_folder, read_folder


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def run(store: LocalStore, function: str, attempt: int = 1, **changes: Any) -> AttemptReport:
    return execute(request(store, function, attempt, **changes))


def request(store: LocalStore, function: str, attempt: int = 1, **changes: Any) -> AttemptRequest:
    root = store.root.parent
    values: dict[str, Any] = {
        "step_key": "key",
        "attempt": attempt,
        "kind": function,
        "label": "",
        "entry": f"{FAKE}:{function}",
        "code": code_digest(f"{FAKE}:{function}").modules,
        "code_cache": str(root / "code.json"),
        "params": {},
        "settings": {},
        "inputs": {},
        "resources": Resources(),
        "store": StoreAddress(str(store.root), str(store.root)),
        "scratch": str(root / "scratch"),
        "log_file": str(root / "logs" / f"{attempt}.log"),
        "live_file": str(root / "logs" / f"{attempt}.jsonl"),
    }
    return AttemptRequest(**(values | changes))


def log(store: LocalStore, attempt: int = 1) -> str:
    return (store.root.parent / "logs" / f"{attempt}.log").read_text()


def test_a_step_reads_inputs_and_yields_an_artifact(store: LocalStore, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "in", {"out.txt": "upstream"})).digest
    report = run(store, "noop", inputs={"before": digest}, params={"x": 1})
    assert report.failure is None and report.digest is not None
    expected = canonical_json({"params": {"x": 1}, "inputs": {"before": "upstream"}})
    assert read_folder(store.checkout(report.digest)) == {"out.txt": sha256_text(expected)}
    assert (report.files, report.node != "", report.pid > 0) == (1, True, True)


def test_reports_come_back_with_the_attempt(store: LocalStore) -> None:
    report = run(store, "measure", params={"value": 3.0})
    assert [metric.value for metric in report.metrics] == [3.0]
    assert len(report.scores) == 2 and len(report.curves) == 3
    assert report.warnings == ("this is a fake",)
    live = read_json_lines(store.root.parent / "logs" / "1.jsonl")
    assert [line["kind"] for line in live] == ["curve"] * 3 + ["warning"]


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("bug", FailureClass.BUG),
        ("data", FailureClass.DATA),
        ("oom", FailureClass.OOM),
        ("infra", FailureClass.INFRA),
        ("storage", FailureClass.STORAGE),
        ("exit", FailureClass.BUG),
    ],
)
def test_every_failure_comes_back_with_its_class(
    store: LocalStore, error: str, failure: FailureClass
) -> None:
    report = run(store, "fail", params={"error": error})
    assert (report.failure, report.digest) == (failure, None)
    assert "Traceback" in log(store)


def test_output_of_a_step_goes_to_its_log(
    store: LocalStore, capfd: pytest.CaptureFixture[str]
) -> None:
    run(store, "fail")
    assert "about to fail" in log(store)
    assert capfd.readouterr() == ("", "")


def test_output_of_a_process_of_its_own_is_caught_below_python(store: LocalStore) -> None:
    report = run(store, "shout", own_process=True)
    assert report.failure is None
    assert {"python", "child", "logged"} <= set(log(store).split())


def test_a_foreign_error_names_type_and_place(store: LocalStore) -> None:
    report = run(store, "fail")
    assert report.message.startswith("ValueError: this step is broken (fake_steps.py:")


def test_a_step_that_does_not_exist_is_a_bug(store: LocalStore) -> None:
    report = run(store, "nothing")
    assert report.failure is FailureClass.BUG
    assert "has no function 'nothing'" in report.message


def test_damaged_inputs_are_named(store: LocalStore, tmp_path: Path) -> None:
    digest = store.publish(make_folder(tmp_path / "in", {"a": "1"})).digest
    corrupt_file(store.folder(digest) / "files" / "a")
    report = run(store, "noop", inputs={"bad": digest, "gone": "0" * 64})
    assert report.bad_inputs == ("bad", "gone")
    assert "input bad: artifact" in report.message and "input gone: artifact" in report.message


def test_sound_inputs_beside_a_damaged_one_are_let_go(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = store.publish(make_folder(tmp_path / "good", {"a": "1"})).digest
    held = [good]
    opened = LocalStore(store.root)
    monkeypatch.setattr(opened, "release", held.remove)
    monkeypatch.setattr(attempts, "_open_store", lambda address: opened)
    report = run(store, "noop", inputs={"good": good, "gone": "0" * 64})
    assert report.bad_inputs == ("gone",) and held == []


def meddling(monkeypatch: pytest.MonkeyPatch, name: str, meddle: Callable[[Path], None]) -> None:
    """Let something happen to an input after it was checked, before the step reads it."""
    real = attempts.load_entry

    def load(entry: str) -> Callable[[StepTask], None]:
        def step(task: StepTask) -> None:
            meddle(task.inputs[name])
            real(entry)(task)

        return step

    monkeypatch.setattr(attempts, "load_entry", load)


@pytest.mark.parametrize("size", [9, 100_000])
@pytest.mark.parametrize("function", ["accumulate", "noop"])
def test_what_was_made_of_an_input_that_was_spoilt_under_the_step_is_not_kept(
    size: int,
    function: str,
    store: LocalStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"out.txt": "upstream", "large": size * "."}
    digest = store.publish(make_folder(tmp_path / "in", files)).digest
    meddling(monkeypatch, "r", lambda folder: corrupt_file(folder / "large"))
    report = run(store, function, inputs={"r": digest}, params={"value": 1, "steady": True})
    assert report.digest is None and report.bad_inputs == ("r",)
    assert report.failure is FailureClass.INFRA and "changed while the step read" in report.message
    assert not store.contains(digest), "it is set aside, so that it is made again"
    assert not [path for path in tmp_path.glob("scratch*/**/*") if path.is_file()]


def test_a_step_that_fails_over_an_input_that_was_lost_under_it_is_not_to_blame(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.publish(make_folder(tmp_path / "in", {"out.txt": "upstream"})).digest
    meddling(monkeypatch, "r", lambda folder: (folder / "out.txt").unlink())
    report = run(store, "noop", inputs={"r": digest})
    assert report.failure is FailureClass.INFRA and report.bad_inputs == ("r",)


def test_a_cancelled_step_stays_cancelled_whatever_became_of_its_input(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.publish(make_folder(tmp_path / "in", {"out.txt": "upstream"})).digest

    def spoil_and_cancel(folder: Path) -> None:
        corrupt_file(folder / "out.txt")
        raise StepCancelled

    meddling(monkeypatch, "r", spoil_and_cancel)
    report = run(store, "noop", inputs={"r": digest})
    assert report.cancelled and report.failure is None and not report.bad_inputs
    assert not [path for path in tmp_path.glob("scratch*/**/*") if path.is_file()]


def test_an_input_that_was_made_again_under_the_step_is_read_again(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"out.txt": "upstream"}
    digest = store.publish(make_folder(tmp_path / "in", files)).digest

    def make_again(folder: Path) -> None:
        corrupt_file(folder / "out.txt")
        store.verify(digest)
        store.publish(make_folder(tmp_path / "again", files))

    with monkeypatch.context() as patch:
        meddling(patch, "r", make_again)
        report = run(store, "noop", inputs={"r": digest})
    assert report.cancelled and report.failure is None and report.digest is None
    assert run(store, "noop", 2, inputs={"r": digest}).digest is not None


def test_unfinished_work_is_not_gone_on_from_where_an_input_is_found_damaged(
    store: LocalStore, tmp_path: Path
) -> None:
    digest = store.publish(make_folder(tmp_path / "in", {"a": "1"})).digest
    assert run(store, "resumable", inputs={"r": digest}).failure is FailureClass.INFRA
    kept = [path for path in tmp_path.glob("scratch.attempt-*/**/*") if path.is_file()]
    assert kept
    corrupt_file(store.folder(digest) / "files" / "a")
    assert run(store, "resumable", 2, inputs={"r": digest}).bad_inputs == ("r",)
    assert not any(path.exists() for path in kept)


def test_scratch_survives_a_failed_attempt(store: LocalStore) -> None:
    first = run(store, "resumable")
    assert first.failure is FailureClass.INFRA
    second = run(store, "resumable", attempt=2)
    assert second.digest is not None
    assert [(p.step, p.value) for p in second.curves] == [(i, 10.0 - i) for i in range(10)]


def test_a_new_attempt_takes_over_what_is_sealed_and_nothing_else(tmp_path: Path) -> None:
    with attempt_folders(tmp_path / "inputs", 1) as (_, zombie):
        write_sealed(zombie / "scenes" / "a", lambda file: file.write_text("whole"))
        (zombie / "state").mkdir()
        (zombie / "state" / "weights").write_text("1")
        seal_folder(zombie / "state")
        (zombie / "plain").write_text("cut")
    with attempt_folders(tmp_path / "inputs", 2) as (_, heir):
        assert is_sound(heir / "scenes" / "a") and is_sound(heir / "state")
        assert not (heir / "plain").exists()
        write_sealed(zombie / "scenes" / "a", lambda file: file.write_text("of a zombie"))
        assert (heir / "scenes" / "a").read_text() == "whole"
        (heir / "scenes" / "a").write_text("")
    with attempt_folders(tmp_path / "inputs", 3) as (_, last):
        told: list[str] = []
        assert not keep_sound(last / "scenes" / "a", told.append)
        assert told[0].startswith("a: damaged") and not (last / "scenes" / "a").exists()
    assert [path.name[:16] for path in tmp_path.iterdir()] == ["inputs.attempt-3"]


def test_unfinished_work_on_other_inputs_is_not_taken_over(tmp_path: Path) -> None:
    with attempt_folders(tmp_path / "inputs", 1) as (_, first):
        write_sealed(first / "a", lambda file: file.write_text("whole"))
    with attempt_folders(tmp_path / "others", 2) as (_, second):
        assert not second.exists()
    with attempt_folders(tmp_path / "inputs", 3) as (_, third):
        assert is_sound(third / "a")


def test_what_vanishes_while_it_is_taken_over_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attempt_folders(tmp_path, 1) as (_, earlier):
        write_sealed(earlier / "a", lambda file: file.write_text("whole"))
        write_sealed(earlier / "scenes" / "b", lambda file: file.write_text("whole"))
    real = os.scandir

    def scan(path: Any = ".") -> Any:
        if str(path) == str(earlier / "scenes"):  # another supervisor removes it just now
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    with attempt_folders(tmp_path, 2) as (_, heir):
        assert is_sound(heir / "a") and not (heir / "scenes").exists()


def test_an_attempt_that_begins_late_leaves_its_heir_alone(tmp_path: Path) -> None:
    with attempt_folders(tmp_path / "inputs", 2) as (_, heir):
        write_sealed(heir / "a", lambda file: file.write_text("whole"))
        with attempt_folders(tmp_path / "inputs", 1):
            pass
        assert is_sound(heir / "a")


def test_what_is_cleaned_up_after_a_commit_is_nothing_of_a_later_attempt(tmp_path: Path) -> None:
    scratch = tmp_path / "step.inputs"
    with attempt_folders(scratch, 1) as (_, work):
        work.mkdir()
        (work / "plain").write_text("cut")
    others, step = scratch.with_name("step.others"), tmp_path / "another.inputs"
    for each in (scratch, others, step):
        each.mkdir()
        (each / "finished.json").write_text("{}")
    with attempt_folders(others, 2) as (out, _):
        clean_up(tmp_path, {"step": 1})
        assert out.is_dir() and not scratch.exists() and not work.exists()
        assert others.exists(), "what the attempt at work has noted"
    clean_up(tmp_path, {"step": 2})
    assert list(tmp_path.iterdir()) == [step]


def test_unfinished_output_is_removed(store: LocalStore) -> None:
    run(store, "fail")
    assert not list(store.root.parent.glob("scratch*"))
    assert list(store.digests()) == []


def test_an_unwritable_log_folder_is_a_storage_failure(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    report = run(store, "noop")
    assert report.failure is not None and "logs" in report.message


def test_a_cancelled_attempt_says_so(store: LocalStore) -> None:
    report = execute(request(store, "crawl", params={"seconds": 60}), is_cancelled=lambda: True)
    assert report.cancelled and report.failure is None


def told_of(error: Exception, cause: Exception) -> Exception:
    """An error that was raised for another one."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (SceneError("s", "no depth"), FailureClass.DATA),
        (AnnotationError("f", 1, "id", "missing"), FailureClass.DATA),
        (ConfigError([Fault("no accelerator here")]), FailureClass.DATA),
        (StorageError("full"), FailureClass.STORAGE),
        (OSError(28, "No space left on device"), FailureClass.STORAGE),
        (Exception("I/O error: No space left on device (os error 28)"), FailureClass.STORAGE),
        (OSError(122, "Disk quota exceeded"), FailureClass.STORAGE),
        (OSError("1048576 requested and 262144 written"), FailureClass.STORAGE),
        (RuntimeError("write(): fd 3 failed with No space left on device"), FailureClass.STORAGE),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            FailureClass.STORAGE,
        ),
        (told_of(CheckpointError("no state"), OSError(28, "No space left")), FailureClass.STORAGE),
        (told_of(ValueError("no layer 3"), PermissionError(13, "denied")), FailureClass.BUG),
        (ValueError("3 requested and 2 written about"), FailureClass.BUG),
        (OSError(12, "Cannot allocate memory"), FailureClass.OOM),
        (FileNotFoundError(2, "no such file"), FailureClass.BUG),
        (RuntimeError("CUDA out of memory. Tried to allocate"), FailureClass.OOM),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), FailureClass.OOM),
        (type("OutOfMemoryError", (RuntimeError,), {})("cuda"), FailureClass.OOM),
        (ConnectionResetError("reset"), FailureClass.INFRA),
        (StepFailed("said so", "infra"), FailureClass.INFRA),
        (StepFailed("the loss is nan", "diverged"), FailureClass.DIVERGED),
        (KeyError("x"), FailureClass.BUG),
    ],
)
def test_errors_are_classified(error: BaseException, failure: FailureClass) -> None:
    assert classify(error) is failure


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _write_torch(file: Path) -> None:
    torch.save(torch.zeros(1 << 18), file)


def _write_safetensors(file: Path) -> None:
    save_file({"x": torch.zeros(1 << 18)}, file)


def _write_numpy(file: Path) -> None:
    np.save(file, np.zeros(1 << 18))


def _write_arrow(file: Path) -> None:
    batch = pa.record_batch([pa.array(np.zeros(1 << 18))], names=["x"])
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


@pytest.mark.parametrize("write", [_write_torch, _write_safetensors, _write_numpy, _write_arrow])
def test_a_disk_that_runs_full_under_a_writer_is_storage(
    tiny_disk: Path, write: Callable[[Path], None]
) -> None:
    with pytest.raises(Exception) as caught:
        write(tiny_disk / "file.npy")
    assert classify(caught.value) is FailureClass.STORAGE
    assert "full" in describe(caught.value)


def test_a_full_disk_told_by_a_library_names_its_cure() -> None:
    error = RuntimeError("Error while serializing: No space left on device (os error 28)")
    assert describe(error) == str(storage_error(OSError(28, ""), "write"))


class Shared(LocalStore):
    """A store whose second half is out of reach for a while."""

    is_remote = True
    refusals = 0
    shared: ClassVar[list[str]] = []

    def share(self, digest: str) -> None:
        self.checkout(digest)
        if Shared.refusals:
            Shared.refusals -= 1
            raise StorageError("cannot use s3://bucket: 503")
        Shared.shared.append(digest)


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_attempt_and_not_made_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Shared(store.root)
    monkeypatch.setattr(attempts, "_open_store", lambda address: remote)
    monkeypatch.setattr(Shared, "refusals", 1)
    first = run(store, "measure", params={"value": 3.0})
    assert first.failure is FailureClass.STORAGE
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "load_entry", lambda entry: pytest.fail("it was made again"))
        second = run(store, "measure", 2, params={"value": 3.0})
    assert second.digest is not None and Shared.shared == [second.digest]
    assert [metric.value for metric in second.metrics] == [3.0]
    assert len(second.scores) == 2 and len(second.curves) == 3
    assert second.warnings == ("this is a fake",)
    corrupt_file(remote.checkout(second.digest).parent / "MANIFEST.json")
    assert run(store, "measure", 3, params={"value": 3.0}).digest == second.digest
