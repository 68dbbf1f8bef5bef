import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.errors import StepFailed
from threedrs_platform.identity import source_code
from threedrs_platform.identity.source_code import CodeIndex, code_digest, pin_code

ENTRY = "threedrs_pinned.train:run"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "threedrs_pinned"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "train.py").write_text("def run(task):\n    from threedrs_pinned.late import VALUE\n")
    (root / "late.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(source_code, "_pinned", {})
    monkeypatch.setattr(source_code, "_loaded", {})
    source_code._package_folders.cache_clear()
    yield root
    source_code._package_folders.cache_clear()
    for name in [name for name in sys.modules if name.startswith("threedrs_pinned")]:
        del sys.modules[name]


def test_everything_reachable_is_loaded_so_that_later_edits_do_not_matter(package: Path) -> None:
    planned = code_digest(ENTRY).modules
    pin_code(ENTRY, planned)
    (package / "late.py").write_text("VALUE = 2\n")
    pin_code(ENTRY, planned)
    assert sys.modules["threedrs_pinned.late"].VALUE == 1


def test_code_that_was_edited_before_it_was_loaded_is_refused(package: Path) -> None:
    planned = code_digest(ENTRY).modules
    (package / "late.py").write_text("VALUE = 2\n")
    with pytest.raises(StepFailed, match=r"threedrs_pinned\.train:run was edited since"):
        pin_code(ENTRY, planned)


def test_a_process_with_old_code_refuses_a_new_plan(package: Path) -> None:
    pin_code(ENTRY, code_digest(ENTRY).modules)
    (package / "late.py").write_text("VALUE = 2\n")
    with pytest.raises(StepFailed, match="submit again"):
        pin_code(ENTRY, code_digest(ENTRY).modules)


def test_further_modules_are_pinned_with_the_entry(package: Path) -> None:
    (package / "kind.py").write_text("VALUE = 1\n")
    further = ["threedrs_pinned.kind"]
    planned = CodeIndex().digest(ENTRY, further).modules
    pin_code(ENTRY, planned, modules=further)
    (package / "kind.py").write_text("VALUE = 2\n")
    pin_code(ENTRY, planned, modules=further)
    assert sys.modules["threedrs_pinned.kind"].VALUE == 1
    with pytest.raises(StepFailed, match="submit again"):
        pin_code(ENTRY, CodeIndex().digest(ENTRY, further).modules, modules=further)


def test_code_that_another_step_loaded_before_an_edit_is_refused(package: Path) -> None:
    (package / "score.py").write_text("import threedrs_pinned.late\n")
    pin_code(ENTRY, code_digest(ENTRY).modules)
    (package / "late.py").write_text("VALUE = 2\n")
    other = "threedrs_pinned.score:run"
    with pytest.raises(StepFailed, match=r"threedrs_pinned\.score:run was edited since"):
        pin_code(other, code_digest(other).modules)
