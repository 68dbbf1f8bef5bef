import errno
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from threedrs_platform.errors import ArtifactCorrupt, StorageError
from threedrs_platform.store import local
from threedrs_platform.store.artifacts import ArtifactStore, Health
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.manifest import (
    SMALL_BYTES,
    FileEntry,
    Manifest,
    make_manifest,
    parse_manifest,
)
from threedrs_platform.testing.store_contract import (
    StoreContract,
    corrupt_file,
    make_folder,
    read_folder,
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def file_of(store: ArtifactStore, digest: str, name: str) -> Path:
    assert isinstance(store, LocalStore)
    return store.folder(digest) / "files" / name


class TestLocalStore(StoreContract):
    def damage(self, store: ArtifactStore, digest: str, name: str) -> None:
        corrupt_file(file_of(store, digest, name))

    def lose(self, store: ArtifactStore, digest: str, name: str) -> None:
        file_of(store, digest, name).unlink()


def publish(store: LocalStore, tmp_path: Path, **files: str) -> str:
    return store.publish(make_folder(tmp_path / f"out-{os.urandom(4).hex()}", files)).digest


def test_a_quick_check_trusts_unchanged_stamps_and_reads_changed_files(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = publish(store, tmp_path, a="1" * SMALL_BYTES, b="2")
    read: list[Path] = []

    def counted(root: Path) -> Manifest:
        read.append(root)
        return make_manifest(root)

    monkeypatch.setattr(local, "make_manifest", counted)
    assert store.stat_check(digest) is Health.OK and not read
    os.utime(file_of(store, digest, "a"), (1, 1))
    assert store.stat_check(digest) is Health.OK and len(read) == 1
    assert store.stat_check(digest) is Health.OK and len(read) == 1


def test_a_quick_check_of_a_small_artifact_sees_content_behind_equal_sizes_and_times(
    store: LocalStore, tmp_path: Path
) -> None:
    digest = publish(store, tmp_path, a="12")
    file = file_of(store, digest, "a")
    times = file.stat()
    file.chmod(0o644)
    file.write_text("21")  # as a power failure leaves what was never synced
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert store.stat_check(digest) is Health.CORRUPT


@pytest.mark.parametrize("name", ["a", "../MANIFEST.json"])
def test_a_quick_check_finds_a_changed_file_or_manifest(
    store: LocalStore, tmp_path: Path, name: str
) -> None:
    digest = publish(store, tmp_path, a="1")
    corrupt_file(file_of(store, digest, name))
    assert store.stat_check(digest) is Health.CORRUPT
    assert store.stat_check(digest) is Health.MISSING


@pytest.mark.parametrize("name", ["files", "MANIFEST.json"])
def test_a_quick_check_finds_half_an_artifact(store: LocalStore, tmp_path: Path, name: str) -> None:
    folder = store.folder(publish(store, tmp_path, a="1"))
    (folder / name).rename(tmp_path / name)
    assert store.stat_check(folder.name) is Health.CORRUPT


def test_a_quick_check_finds_a_link(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1")
    file_of(store, digest, "link").symlink_to(tmp_path)
    assert store.stat_check(digest) is Health.CORRUPT


def test_two_may_find_the_same_damage(store: LocalStore, tmp_path: Path) -> None:
    folder = store.folder(publish(store, tmp_path, a="1"))
    store._quarantine(folder)
    store._quarantine(folder)
    assert store.stat_check(folder.name) is Health.MISSING


def test_a_quick_check_finds_an_added_file(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1")
    file_of(store, digest, "stowaway").write_text("x")
    assert store.stat_check(digest) is Health.CORRUPT


def test_a_corrupt_checkout_says_where_the_remains_are(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1")
    corrupt_file(file_of(store, digest, "a"))
    with pytest.raises(ArtifactCorrupt, match=f"{digest[:12]}.*quarantine"):
        store.checkout(digest)
    assert len(list((store.root / "quarantine").iterdir())) == 1


def test_published_files_are_read_only(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1")
    assert file_of(store, digest, "a").stat().st_mode & 0o222 == 0


def test_a_store_that_was_copied_is_verified_and_works(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1")
    shutil.copytree(store.root, tmp_path / "copy")
    copy = LocalStore(tmp_path / "copy")
    assert read_folder(copy.checkout(digest)) == {"a": "1"}


def test_many_writers_of_one_artifact_agree(store: LocalStore, tmp_path: Path) -> None:
    folders = [
        make_folder(tmp_path / f"w{i}", {f"f{j}": str(j) for j in range(20)}) for i in range(8)
    ]
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda f=folder: digests.append(store.publish(f).digest))
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8 and len(set(digests)) == 1
    assert store.verify(digests[0]) is Health.OK
    assert not list((store.root / "staging").iterdir())


def test_a_folder_on_another_file_system_is_copied(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename
    folder = make_folder(tmp_path / "out", {"a": "1"})

    def rename(source: Path, target: Path) -> None:
        if Path(source) == folder:
            raise OSError(errno.EXDEV, "another file system")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert read_folder(store.checkout(store.publish(folder).digest)) == {"a": "1"}
    assert not folder.exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_storage_trouble_is_told_and_leaves_nothing_behind(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=f"cannot publish an artifact.*{message}"):
        publish(store, tmp_path, a="1" * (SMALL_BYTES + 1))
    monkeypatch.undo()
    assert not list(store.digests()) and not list((store.root / "staging").iterdir())


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "", "a\\..\\b"])
def test_a_manifest_path_cannot_leave_the_artifact(name: str) -> None:
    files = {name: [1, "0" * 64]}
    content = json.dumps({"schema": "threedrs.artifact/1", "files": files}).encode()
    with pytest.raises(ArtifactCorrupt, match="leaves the artifact's folder"):
        parse_manifest(content, hashlib.sha256(content).hexdigest())


def test_a_manifest_survives_being_written_down() -> None:
    manifest = Manifest({"a": FileEntry(3, "f" * 64)})
    assert parse_manifest(manifest.content(), manifest.digest()) == manifest
    assert manifest.size == 3


def rot(file: Path) -> None:
    """Flip a byte and leave all else of the file as it was."""
    times = file.stat()
    corrupt_file(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_flipped_bit_with_the_old_time_is_found_by_the_next_process_that_reads_it(
    store: LocalStore, tmp_path: Path
) -> None:
    digest = publish(store, tmp_path, a="1" * (SMALL_BYTES + 1))
    rot(file_of(store, digest, "a"))
    another_process = LocalStore(store.root)
    assert another_process.stat_check(digest) is Health.OK  # a plan reads no content
    with pytest.raises(ArtifactCorrupt):
        another_process.checkout(digest)


def test_a_large_artifact_is_read_once_a_day(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ALWAYS_READ_BYTES", 1)
    digest = publish(store, tmp_path, a="1" * (SMALL_BYTES + 1))
    file = file_of(store, digest, "a")
    rot(file)
    assert LocalStore(store.root).checkout(digest) == file.parent
    os.utime(file.parent.parent / "STAMP", (1, 1))
    with pytest.raises(ArtifactCorrupt):
        LocalStore(store.root).checkout(digest)


def test_a_damaged_stamp_is_made_again(store: LocalStore, tmp_path: Path) -> None:
    digest = publish(store, tmp_path, a="1" * (SMALL_BYTES + 1))
    stamp = store.folder(digest) / "STAMP"
    stamp.write_bytes(b"\xff\x80")
    assert store.stat_check(digest) is Health.OK
    assert stamp.read_bytes() != b"\xff\x80"


def test_a_small_artifact_has_no_stamp_and_its_check_writes_none(
    store: LocalStore, tmp_path: Path
) -> None:
    folder = store.folder(publish(store, tmp_path, a="1", b="2"))
    assert store.stat_check(folder.name) is store.verify(folder.name) is Health.OK
    assert sorted(each.name for each in folder.iterdir()) == ["MANIFEST.json", "files"]


def test_an_artifact_that_is_published_again_while_it_is_collected_stays(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = publish(store, tmp_path, a="1")
    os.utime(store.folder(digest), (1, 1))
    size = LocalStore.size

    def published_meanwhile(self: LocalStore, each: str) -> int:
        assert publish(LocalStore(store.root), tmp_path, a="1") == each
        return size(self, each)

    monkeypatch.setattr(LocalStore, "size", published_meanwhile)
    assert store.gc(set(), grace_s=3600, apply=True).digests == ()
    assert store.verify(digest) is Health.OK


def test_what_interrupted_processes_left_goes_by_its_age(store: LocalStore, tmp_path: Path) -> None:
    for name in ("staging", "quarantine"):
        for age in ("old", "young"):
            (store.root / name / age / "files").mkdir(parents=True)
        for path in (store.root / name / "old" / "files", store.root / name / "old"):
            os.utime(path, (1, 1))
    assert store.gc(set(), grace_s=3600).leftovers == 2
    assert store.gc(set(), grace_s=3600, apply=True).leftovers == 2
    assert not list(store.root.glob("*/old")) and len(list(store.root.glob("*/young"))) == 2


def test_a_store_keeps_its_name(store: LocalStore) -> None:
    assert store.identity(make=False) is None
    name = store.identity()
    assert name and LocalStore(store.root).identity() == name


def test_what_was_pinned_to_be_shared_and_never_was_goes_after_a_while(
    store: LocalStore, tmp_path: Path
) -> None:
    forgotten, young, needed = (
        store.publish(make_folder(tmp_path / name, {"a": name})).digest
        for name in ("forgotten", "young", "needed")
    )
    for digest in (forgotten, young, needed):
        store.pin(digest)
    for digest in (forgotten, needed):
        for path in (store.folder(digest), store.root / "pins" / digest):
            os.utime(path, (1000, 1000))
    assert list(store.unpin_forgotten({needed}, 2000, apply=False)) == [forgotten]
    assert store.pins() == {forgotten, young, needed}
    store.unpin_forgotten({needed}, 2000, apply=True)
    assert store.pins() == {young, needed}
    assert store.stat_check(forgotten) is Health.MISSING


@pytest.mark.parametrize("beside", [(), ("work",)])
def test_a_folder_of_files_becomes_the_artifact_unless_something_lies_beside_it(
    store: LocalStore, tmp_path: Path, beside: tuple[str, ...]
) -> None:
    known = publish(store, tmp_path, a="1")
    for content in ("1", "2"):
        folder = make_folder(tmp_path / content / "files", {"a": content})
        for name in beside:
            (folder.parent / name).mkdir()
        taken = store.take(folder)
        assert (taken.digest == known) is (content == "1")
        assert store.verify(taken.digest) is Health.OK
        assert not folder.exists()
        assert [path.name for path in (tmp_path / content).glob("*")] == list(beside)


def test_one_disk_that_is_mounted_twice_is_copied_over(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = make_folder(tmp_path / "own" / "files", {"a": "1"}), os.rename

    def between_mounts(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(tmp_path / "own"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", between_mounts)
    assert store.verify(store.take(folder).digest) is Health.OK
    assert not (tmp_path / "own").exists()
