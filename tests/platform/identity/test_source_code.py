"""The code digest must follow every way in which code can be reached, and nothing else."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.identity import source_code
from threedrs_platform.identity.source_code import CodeError, CodeIndex, code_digest

ENTRY = "threedrs_demo.steps.train:run"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "threedrs_demo"
    write(root / "__init__.py", '"""Demo."""\n')
    write(root / "steps/__init__.py", "")
    write(root / "steps/train.py", "def run(task):\n    return 1\n")
    write(root / "loss.py", "WEIGHT = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    source_code._package_folders.cache_clear()
    yield root
    source_code._package_folders.cache_clear()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def modules() -> str:
    return code_digest(ENTRY).modules


def train(package: Path, text: str) -> str:
    write(package / "steps/train.py", text)
    return modules()


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    plain = train(package, "def run(task):\n    return 1\n")
    decorated = train(
        package,
        '"""Module."""\n\n# comment\n\ndef run(task):\n    """Doc."""\n    # why\n    return (1)\n',
    )
    assert decorated == plain


def test_a_changed_constant_counts(package: Path) -> None:
    assert train(package, "def run(task):\n    return 2\n") != modules_of_start(package)


def modules_of_start(package: Path) -> str:
    return train(package, "def run(task):\n    return 1\n")


@pytest.mark.parametrize(
    "statement",
    [
        "from threedrs_demo import loss",
        "from threedrs_demo.loss import WEIGHT",
        "import threedrs_demo.loss",
        "from .. import loss",
        "from ..loss import WEIGHT",
        "def run(task):\n    from threedrs_demo.loss import WEIGHT",
        "import importlib\ndef run(task):\n    importlib.import_module('threedrs_demo.loss')",
        "try:\n    import threedrs_demo.loss\nexcept ImportError:\n    pass",
    ],
)
def test_an_imported_module_counts(package: Path, statement: str) -> None:
    before = train(package, statement + "\n")
    write(package / "loss.py", "WEIGHT = 2\n")
    assert modules() != before


def test_a_module_that_is_not_reached_does_not_count(package: Path) -> None:
    before = modules()
    write(package / "loss.py", "WEIGHT = 2\n")
    assert modules() == before


def test_the_init_files_above_a_module_count(package: Path) -> None:
    before = modules()
    write(package / "steps/__init__.py", "import threedrs_demo.loss\n")
    between = modules()
    write(package / "loss.py", "WEIGHT = 2\n")
    assert len({before, between, modules()}) == 3


def test_imports_for_type_checkers_only_do_not_count(package: Path) -> None:
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from threedrs_demo import loss\n"
    )
    before = train(package, text)
    write(package / "loss.py", "WEIGHT = 2\n")
    assert modules() == before


def test_an_import_cycle_ends(package: Path) -> None:
    write(package / "loss.py", "from threedrs_demo.steps import train\n")
    train(package, "from threedrs_demo import loss\n")


def test_versions_of_imported_numeric_packages_are_listed(package: Path) -> None:
    train(package, "import numpy as np\nfrom PIL import Image\nimport json\n")
    assert code_digest(ENTRY).packages.keys() == {"numpy", "pillow"}


def test_a_missing_project_module_is_an_error(package: Path) -> None:
    with pytest.raises(CodeError, match=r"threedrs_demo\.lost is needed by a step but does not"):
        train(package, "import threedrs_demo.lost\n")


def test_a_file_that_cannot_be_parsed_is_an_error(package: Path) -> None:
    with pytest.raises(CodeError, match=r"train\.py: cannot be parsed"):
        train(package, "def run(:\n")


def test_an_entry_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(CodeError, match=r"threedrs_nowhere"):
        code_digest("threedrs_nowhere.steps:run")


def test_a_numeric_package_that_is_not_installed_is_an_error(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(source_code.NUMERIC_PACKAGES, "imaginary", "imaginary-package")
    with pytest.raises(
        CodeError, match="imaginary-package is imported by a step but not installed"
    ):
        train(package, "import imaginary\n")


def test_unchanged_files_are_not_parsed_again(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in package.rglob("*.py"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    index = CodeIndex(tmp_path / "cache" / "code.json")
    first = index.digest(ENTRY)
    index.save()
    parsed: list[str] = []
    monkeypatch.setattr(source_code, "analyse", lambda name, file: parsed.append(name))
    assert CodeIndex(tmp_path / "cache" / "code.json").digest(ENTRY) == first
    assert not parsed


def test_a_changed_file_is_parsed_again(package: Path, tmp_path: Path) -> None:
    index = CodeIndex(tmp_path / "code.json")
    before = index.digest(ENTRY)
    write(package / "steps/train.py", "def run(task):\n    return 3\n")
    assert index.digest(ENTRY) == before
    index.forget()
    assert index.digest(ENTRY) != before


def test_digesting_imports_nothing(package: Path) -> None:
    modules()
    assert not [name for name in sys.modules if name.startswith("threedrs_demo")]
