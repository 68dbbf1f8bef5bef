"""A tiny annotated world: two scenes, a few objects, files in the real formats."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks import scoring
from threedrs_platform.errors import DataError

FIXTURES = Path(__file__).parent / "fixtures"
"""One folder per kind of benchmark, as its loader finds it: two scenes, a few objects."""
IN_ONE_WORLD = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d", "vsibench")
"""Fixtures about the same scenes; whoever adds one need not fit it to them."""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Annotations of six benchmarks in one folder."""
    for kind in IN_ONE_WORLD:
        shutil.copytree(FIXTURES / kind, tmp_path, dirs_exist_ok=True)
    return tmp_path


class JsonWriter:
    """Writes values under a root and returns the path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, values: Any) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.suffix == ".jsonl"
        path.write_text("\n".join(map(json.dumps, values)) if lines else json.dumps(values))
        return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    return JsonWriter(tmp_path)


@pytest.fixture(scope="session")
def sqa3d_slice() -> Path:
    default = Path(__file__).parents[3] / ".." / "shared"
    folder = Path(os.environ.get("THREEDRS_SHARED", default)) / "data" / "sqa3d_slice"
    path = folder / "sqa3d_test_slice.json"
    if not path.is_file():
        pytest.skip(f"the real slice is not here ({path.resolve()}); set THREEDRS_SHARED")
    return path


@pytest.fixture
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were not there: indexing the paraphrase table would take longer than all
    these tests."""

    def missing() -> None:
        raise DataError("pycocoevalcap is not installed")

    monkeypatch.setattr(scoring, "installed_data", missing)
