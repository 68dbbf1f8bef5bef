"""Each recipe of CONTRIBUTING.md, carried out on a copy of the source, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGES = ("platform", "components", "workflows", "dashboards")


@dataclass(frozen=True)
class Recipe:
    """What a section of the document tells one to do."""

    title: str
    files: tuple[tuple[str, str], ...]
    """Path and content of each new file."""
    changes: tuple[tuple[str, str], ...]
    """Path and lines of each change: "-" goes, "+" comes, " " stays."""
    command: str


def recipes() -> list[Recipe]:
    found = []
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        commands = re.findall(r"^Test: `([^`]+)`$", section, re.MULTILINE)
        if commands:
            files = re.findall(r"^File `([^`]+)`:\n\n```\w+\n(.*?)^```$", section, re.M | re.S)
            found.append(Recipe(title, tuple(files), tuple(_changes(section)), commands[0]))
    return found


def _changes(section: str) -> list[tuple[str, str]]:
    changes = []
    for path, blocks in re.findall(
        r"^In `([^`]+)`:\n\n((?:```diff\n.*?^```\n)+)", section, re.M | re.S
    ):
        for block in re.findall(r"^```diff\n(.*?)^```$", blocks, re.M | re.S):
            changes.append((path, block))
    return changes


def apply(text: str, change: str) -> str:
    lines = change.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"{text.count(before)} places to change: {before!r}"
    return text.replace(before, after)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__", "*.png")
    for name in ("components", "tests/components"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_works_as_it_stands(recipe: Recipe, copy: Path) -> None:
    for name, content in recipe.files:
        assert not (copy / name).exists()
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(content)
    for name, change in recipe.changes:
        (copy / name).write_text(apply((copy / name).read_text(), change))
    roots = [str(copy / "components"), *(str(ROOT / name) for name in PACKAGES)]
    program, *arguments = shlex.split(recipe.command)
    assert program == "pytest"
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", program, *options, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"\b[1-9]\d* passed", done.stdout), "the contract tests have not found it"


def test_there_is_a_recipe_for_every_kind_of_component() -> None:
    told = {recipe.files[0][0].split("/")[2] for recipe in recipes()}
    registries = (ROOT / "components/threedrs_components").glob("*/registry.py")
    kinds = {path.parent.name for path in registries} - {"pretraining"}
    assert kinds <= told
