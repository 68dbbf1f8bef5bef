import errno
import hashlib
import os
from pathlib import Path

import pytest

from threedrs_platform.errors import ConfigError, DataError
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


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        old(path / name, text)
    return path


def test_a_renamed_folder_keeps_its_digest(tmp_path: Path) -> None:
    data = folder(tmp_path / "data1", a="1")
    folder(data / "scene", b="2")
    before = FileDigests().tree(data)
    assert FileDigests().tree(data.rename(tmp_path / "data2")) == before


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a", ".cache/a", "scene/.DS_Store", "Thumbs.db", "__MACOSX/a"]
)
def test_what_systems_leave_in_folders_does_not_count(tmp_path: Path, name: str) -> None:
    data = folder(tmp_path / "data", a="1")
    folder(data / "scene", b="2")
    before = FileDigests().tree(data)
    (data / name).parent.mkdir(exist_ok=True)
    old(data / name, "left")
    assert FileDigests().tree(data) == before


def test_data_below_a_hidden_folder_count(tmp_path: Path) -> None:
    one, other = folder(tmp_path / ".data/1", a="1"), folder(tmp_path / ".data/2", a="2")
    assert FileDigests().tree(one) != FileDigests().tree(other)


def test_links_count_by_what_they_lead_to(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", a="1")
    folder(data / "scene", b="2")
    linked = folder(tmp_path / "linked")
    (linked / "a").symlink_to(data / "a")
    (linked / "scene").symlink_to(data / "scene")
    assert FileDigests().tree(linked) == FileDigests().tree(data)


def test_a_link_to_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", a="1")
    (data / "b").symlink_to(tmp_path / "moved")
    with pytest.raises(DataError, match=r"data/b: .* it links to .*/moved, which is not there"):
        FileDigests().tree(data)


def test_a_link_in_a_circle_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", a="1")
    (data / "again").symlink_to(data)
    with pytest.raises(DataError, match=r"data/again: links to a folder that it is in"):
        FileDigests().tree(data)


def test_a_link_to_itself_is_an_error_that_names_it(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", a="1")
    (data / "b").symlink_to(data / "b")
    with pytest.raises(DataError, match=r"data/b: cannot be read, .* symbolic links"):
        FileDigests().tree(data)


def refuse(path: Path) -> str:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path / "data", a="1")
    monkeypatch.setattr(file_digests, "sha256_file", refuse)
    with pytest.raises(DataError, match=r"data/a: cannot be read, .*: Permission denied"):
        FileDigests().tree(data)


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path / "data", a="1")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"data: cannot be read, .*: Permission denied"):
        FileDigests().tree(data)


@pytest.mark.parametrize("path", ["nothing", "file/below"])
def test_a_setting_that_names_nothing_is_an_error(tmp_path: Path, path: str) -> None:
    old(tmp_path / "file", "1")
    with pytest.raises(ConfigError, match=r"scenes\.root: .*: no such file or folder"):
        FileDigests().of(str(tmp_path / path), "scenes.root")


def scenes(tmp_path: Path, count: int = 3) -> Path:
    data = folder(tmp_path / "data")
    for index in range(count):
        folder(data / f"scene{index}", a=f"{index}", b="x")
    return data


def test_a_known_folder_is_told_by_its_listing_and_only_changes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = scenes(tmp_path), tmp_path / "cache/files.json"
    first, read = FileDigests(cache).tree(data), list[str]()

    def remember(path: Path) -> str:
        read.append(f"{path.parent.name}/{path.name}")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(file_digests, "sha256_file", remember)
    assert FileDigests(cache).tree(data) == first and not read
    old(data / "scene1" / "b", "y", at=1_700_000_001)
    changed = FileDigests(cache).tree(data)
    assert read == ["scene1/b"] and changed != first
    assert changed == FileDigests().tree(data), "as without any memo"


def test_a_killed_hash_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = scenes(tmp_path, 6), tmp_path / "cache/files.json"
    read = list[str]()

    def killed(path: Path) -> str:
        read.append(path.parent.name)
        if len(set(read)) == 4:
            raise KeyboardInterrupt
        return "0" * 64

    monkeypatch.setattr(file_digests, "sha256_file", killed)
    with pytest.raises(KeyboardInterrupt):
        FileDigests(cache).tree(data)
    seen, read[:] = sorted(set(read)), []
    FileDigests(cache).tree(data)
    assert len(seen) == 4 and set(read).isdisjoint(seen[:3]), "three scenes were remembered"


def test_a_changed_byte_under_the_same_stamp_is_seen_by_rehashing_alone(tmp_path: Path) -> None:
    data, cache = scenes(tmp_path), tmp_path / "cache/files.json"
    first = FileDigests(cache).tree(data)
    old(data / "scene0" / "b", "z")
    assert FileDigests(cache).tree(data) == first
    again = FileDigests(cache, rehash=True).tree(data)
    assert again != first and FileDigests(cache).tree(data) == again


def test_what_takes_too_long_to_read_is_noted_and_stands_in_for_itself(tmp_path: Path) -> None:
    data, cache = scenes(tmp_path), tmp_path / "cache/files.json"
    short = FileDigests(cache, most_bytes=1000)
    assert short.of(str(data), "scenes.root") == "unhashed:scenes.root"
    assert short.unhashed[str(data)].files == 6 and short.unhashed[str(data)].size == 6
    known = FileDigests(cache).tree(data)
    later = FileDigests(cache, most_bytes=1000)
    assert later.of(str(data), "scenes.root") == known and not later.unhashed


def test_reading_a_folder_tells_how_far_it_is(tmp_path: Path) -> None:
    told = list[tuple[int, int]]()
    digests = FileDigests(progress=lambda folder, done, total: told.append((done, total)))
    digests.tree(scenes(tmp_path))
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_an_archive_is_read_without_its_memos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content")
    digests = FileDigests(tmp_path / "cache" / "files.json")
    before = digests.tree(tmp_path / "data")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    archived = FileDigests(tmp_path / "cache" / "files.json")
    assert archived.tree(tmp_path / "data") == before
    archived.save()
    assert not (tmp_path / "cache" / "files.json").exists()
