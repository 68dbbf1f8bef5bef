import hashlib
import os
from pathlib import Path

import pytest

from threedrs_platform.errors import DataError
from threedrs_platform.identity import file_digests
from threedrs_platform.identity.file_digests import FileDigests


def old(path: Path, text: str, at: int = 1_700_000_000) -> Path:
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def test_a_file_digest_is_the_sha256_of_its_content(tmp_path: Path) -> None:
    file = old(tmp_path / "weights", "abc")
    assert FileDigests().file(file) == hashlib.sha256(b"abc").hexdigest()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no digest"):
        FileDigests().file(tmp_path / "nothing")


def test_a_folder_digest_covers_names_and_content(tmp_path: Path) -> None:
    digests = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "1")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        old(folder / name, text)
        digests.add(FileDigests().tree(folder))
    assert len(digests) == 3


def test_a_folder_is_walked_once_for_all_cells_of_a_plan(tmp_path: Path) -> None:
    old(tmp_path / "a", "1")
    digests = FileDigests()
    before = digests.tree(tmp_path)
    old(tmp_path / "b", "2")
    assert digests.tree(tmp_path) == before != FileDigests().tree(tmp_path)


def test_an_unchanged_file_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = old(tmp_path / "weights", "abc"), tmp_path / "cache.json"
    digests = FileDigests(cache)
    first = digests.file(file)
    digests.save()
    monkeypatch.setattr(file_digests, "sha256_file", lambda path: "read again")
    assert FileDigests(cache).file(file) == first
    old(file, "abd", at=1_700_000_001)
    assert FileDigests(cache).file(file) == "read again"


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    file, digests = tmp_path / "weights", FileDigests()
    file.write_text("abc")
    first = digests.file(file)
    stamp = file.stat()
    file.write_text("abd")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert digests.file(file) != first


def test_a_damaged_cache_is_only_a_lost_memo(tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text("{not json")
    file = old(tmp_path / "weights", "abc")
    assert FileDigests(cache).file(file) == hashlib.sha256(b"abc").hexdigest()
