"""The guard fails on what it is there for: code that a step uses and its key does not hold."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.identity import source_code
from threedrs_platform.identity.source_code import CodeError
from threedrs_platform.steps import StepSpec
from threedrs_workflows.testing.fresh_steps import FreshSteps

pytestmark = pytest.mark.whole

HIDDEN = "VALUE = 1\n"
STEPS = "from threedrs_platform.steps import StepTask  # noqa: F401\n"
"""Every step of ours imports it; the process that runs them brings it along."""
LAZY = "def run(task):\n    from threedrs_planted import hidden\n    assert hidden.VALUE\n"
COMPUTED = """
import importlib

def run(task):
    importlib.import_module("threedrs_planted." + task.params["name"])
"""
DETOUR = """
import importlib

def run(task):
    load = vars(importlib)["import_module"]
    assert load("threedrs_planted." + task.params["name"]).VALUE
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "threedrs_planted"
    root.mkdir()
    for name, text in {"__init__": "", "hidden": HIDDEN, "step": ""}.items():
        (root / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    source_code._package_folders.cache_clear()
    yield root
    source_code._package_folders.cache_clear()


@pytest.fixture
def planted(package: Path, tmp_path: Path) -> Iterator[FreshSteps]:
    steps = FreshSteps(tmp_path / "steps")
    yield steps
    steps.close()


SPEC = StepSpec("planted", "threedrs_planted.step:run", {"name": "hidden"})


def test_a_plain_lazy_import_is_in_the_key(package: Path, planted: FreshSteps) -> None:
    (package / "step.py").write_text(STEPS + LAZY)
    planted.run(SPEC)
    assert planted.outside_the_key(SPEC) == []


def test_an_import_by_a_computed_name_is_refused_before_anything_runs(
    package: Path, planted: FreshSteps
) -> None:
    (package / "step.py").write_text(COMPUTED)
    with pytest.raises(CodeError, match=r"step\.py:5"):
        planted.run(SPEC)


def test_a_detour_that_the_analysis_cannot_see_is_found_by_running_it(
    package: Path, planted: FreshSteps
) -> None:
    (package / "step.py").write_text(STEPS + DETOUR)
    planted.run(SPEC)
    assert planted.outside_the_key(SPEC) == ["threedrs_planted.hidden"]
