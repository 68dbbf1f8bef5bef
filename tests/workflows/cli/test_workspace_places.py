"""A workspace that cannot be is told; one that is only looked at is not made."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from threedrs_platform.errors import StorageError
from threedrs_platform.storage import place_errors, write_atomically
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main

STORAGE = StorageError("").exit_code


@pytest.fixture
def grid(tmp_path: Path) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text("version: 1\nname: test\nbase: {preset: micro}\n")
    return str(path)


@pytest.mark.parametrize("verb", ["plan", "submit", "status", "doctor", "ui", "results"])
def test_a_workspace_below_a_file_is_told_by_every_verb(
    verb: str, grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = [grid] if verb in ("plan", "submit") else []
    assert main([verb, *file, "--workspace", f"{grid}/below/it"]) == STORAGE
    told = capsys.readouterr().err
    assert f"{grid} is not a folder; choose another --workspace" in told
    assert "internal error" not in told


def test_a_workspace_where_nothing_can_be_made_is_told(
    grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", grid, "--workspace", "/proc/x"]) == STORAGE
    assert "cannot make the workspace /proc/x: no folder can be made" in capsys.readouterr().err


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_a_place_that_cannot_be_written_says_what_to_do(code: int) -> None:
    with pytest.raises(StorageError, match=r"cannot write there: .*; choose a"):  # noqa: SIM117
        with place_errors("write there"):
            raise OSError(code, "")


def test_a_memo_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file is where a folder would have to be"):
        write_atomically(tmp_path / "file" / "memo.json", b"")


@pytest.mark.parametrize("words", [["plan"], ["submit", "-n"], ["doctor"], ["ui"], ["status"]])
def test_who_only_looks_makes_no_workspace(
    words: list[str], grid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = [grid] if words[0] in ("plan", "submit") else []
    code = main([*words, *file, "--workspace", str(tmp_path / "typo" / "deep")])
    printed = capsys.readouterr()
    assert (code == 0) == (words[0] in ("plan", "submit", "doctor"))
    assert f"{tmp_path / 'typo' / 'deep'}" in printed.out + printed.err
    assert not (tmp_path / "typo").exists()


def test_a_plan_names_the_workspace_that_was_meant(
    grid: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with find_workspace(str(tmp_path / "rooms"), environment={}) as workspace:
        assert workspace.runs.recent(1) == []
    assert main(["plan", grid, "--workspace", str(tmp_path / "roms")]) == 0
    told = capsys.readouterr().err
    assert f"there is no workspace {tmp_path / 'roms'} yet; did you mean" in told


def test_a_folder_without_a_workspace_stays_as_it_is(grid: str, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    assert main(["plan", grid, "--workspace", str(tmp_path / "papers"), "-q"]) == 0
    assert list((tmp_path / "papers").iterdir()) == []
