"""The code digest must follow every way in which code can be reached, and nothing else."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from threedrs_platform.identity import source_code
from threedrs_platform.identity.source_code import (
    CodeError,
    CodeIndex,
    changed_code,
    code_digest,
)

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
        "import threedrs_demo.loss as cost",
        "from threedrs_demo import *",
        "from .. import *",
        "import threedrs_demo as demo\ndef run(task):\n    return demo.loss.WEIGHT",
    ],
)
def test_an_imported_module_counts(package: Path, statement: str) -> None:
    before = train(package, statement + "\n")
    write(package / "loss.py", "WEIGHT = 2\n")
    assert modules() != before


def test_the_names_of_a_star_import_need_no_list(package: Path) -> None:
    train(package, "from threedrs_demo import *\n")
    expected = {"threedrs_demo", "threedrs_demo.loss", "threedrs_demo.steps"}
    assert {*CodeIndex().modules(ENTRY)} == {*expected, "threedrs_demo.steps.train"}


def test_an_import_that_cannot_be_followed_is_refused_where_a_step_reaches_it(
    package: Path,
) -> None:
    write(package / "loss.py", "import importlib\nimportlib.import_module(f'threedrs_{x}')\n")
    assert modules()
    with pytest.raises(CodeError, match=r"loss\.py:2: importlib.* cannot follow.*import it by its"):
        train(package, "import threedrs_demo.loss\n")


def test_the_module_that_loads_what_a_step_names_may_compute_names(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(package / "loss.py", "import importlib\nimportlib.import_module(x)\n")
    known = source_code.LOADERS_OF_GIVEN_CODE | {"threedrs_demo.loss"}
    monkeypatch.setattr(source_code, "LOADERS_OF_GIVEN_CODE", known)
    assert train(package, "import threedrs_demo.loss\n")


def test_further_modules_and_all_that_they_reach_count(package: Path) -> None:
    write(package / "kinds/__init__.py", "")
    write(package / "kinds/dino.py", "from threedrs_demo import loss\nimport numpy\n")
    further = ["threedrs_demo.kinds.dino"]
    plain, before = CodeIndex().digest(ENTRY), CodeIndex().digest(ENTRY, further)
    assert before.packages.keys() == {"numpy"}
    assert {*CodeIndex().modules(ENTRY, further)} - {*CodeIndex().modules(ENTRY)} == {
        "threedrs_demo.kinds",
        "threedrs_demo.kinds.dino",
        "threedrs_demo.loss",
    }
    write(package / "loss.py", "WEIGHT = 2\n")
    assert CodeIndex().digest(ENTRY) == plain
    assert CodeIndex().digest(ENTRY, further) != before


def test_further_modules_have_no_order_and_those_reached_anyway_add_nothing(package: Path) -> None:
    train(package, "from threedrs_demo import loss\n")
    write(package / "kind.py", "")
    index = CodeIndex()
    assert index.digest(ENTRY, ["threedrs_demo.loss"]) == index.digest(ENTRY)
    one, other = "threedrs_demo.loss", "threedrs_demo.kind"
    assert index.digest(ENTRY, [one, other]) == CodeIndex().digest(ENTRY, [other, one, other])


def test_a_further_module_that_does_not_exist_is_an_error(package: Path) -> None:
    with pytest.raises(CodeError, match=r"threedrs_demo\.lost is needed"):
        CodeIndex().digest(ENTRY, ["threedrs_demo.lost"])


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


def test_a_package_that_a_step_can_do_without_counts_where_it_is(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_code, "package_version", lambda name: f"{name} 1")
    write(package / "steps/train.py", "import av\n")
    monkeypatch.setattr(importlib.util, "find_spec", has_av(True))
    assert code_digest(ENTRY).packages == {"av": "av 1"}
    monkeypatch.setattr(importlib.util, "find_spec", has_av(False))
    assert code_digest(ENTRY).packages == {}


def has_av(there: bool) -> Callable[[str], object]:
    found = importlib.util.find_spec
    return lambda name: (found("json") if there else None) if name == "av" else found(name)


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
    again = CodeIndex(tmp_path / "cache" / "code.json")
    assert (again.digest(ENTRY), again.details(ENTRY)) == (first, index.details(ENTRY))
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


def test_what_changed_is_told_by_module_and_name(package: Path) -> None:
    write(package / "loss.py", "def old(): ...\nclass Loss:\n    def add(self): return 1\n")
    write(package / "gone.py", "")
    train(package, "from threedrs_demo import gone, loss\n")
    before = CodeIndex().details(ENTRY)
    write(package / "loss.py", "def new(): ...\nclass Loss:\n    def add(self): return 2\n")
    write(package / "fresh.py", "")
    train(package, "from threedrs_demo import fresh, loss\n")
    assert changed_code(before, CodeIndex().details(ENTRY)) == [
        "threedrs_demo.fresh: new module",
        "threedrs_demo.gone: gone",
        "threedrs_demo.loss: new (new), Loss.add, old (gone)",
        "threedrs_demo.steps.train: <module>",
    ]


def test_definitions_that_only_changed_places_are_told(package: Path) -> None:
    train(package, "def run(task): ...\ndef walk(task): ...\n")
    before = CodeIndex().details(ENTRY)
    train(package, "def walk(task): ...\ndef run(task): ...\n")
    assert changed_code(before, CodeIndex().details(ENTRY)) == [
        "threedrs_demo.steps.train: <order>"
    ]
    assert changed_code(before, before) == []
