"""A workspace with one run that never ran: two teachers, a failure, a running cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from threedrs_dashboards.app import create_app
from threedrs_dashboards.testing.tiny_run import write_tiny_run
from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.connection import open_database
from threedrs_platform.database.measurements import RunResults
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.states import StepState
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.testing.fake_results import Values, fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

LOCAL = "http://127.0.0.1:8365"
ACC, SCORE = "scanrefer/acc@0.25", "probe/score"
GRID = f"""\
version: 1
name: study
report:
  metrics: ["{ACC}", "{SCORE}"]
  compare_to: baseline
"""


def study() -> RunResults:
    def numbers(accuracy: float) -> dict[str, float | Metric]:
        return {
            ACC: Metric(ACC, accuracy, 30, chance=17.4),
            f"{ACC}/g_lm": Metric(f"{ACC}/g_lm", accuracy - 5, 10),
            f"{ACC}/g_attr": Metric(f"{ACC}/g_attr", accuracy + 5, 20),
            SCORE: Metric(SCORE, accuracy / 100, 30, unit="cosine"),
        }

    values: Values = {
        "baseline": {1: numbers(24.0), 2: numbers(23.0), 3: numbers(22.0)},
        "vggt": {1: numbers(50.0), 2: numbers(51.0), 3: numbers(49.0)},
        "vggt heavy": {1: numbers(40.0), 2: numbers(41.0), 3: numbers(42.0)},
        "mae <b>": {1: numbers(30.0), 2: {}, 3: numbers(31.0)},
        "late": {1: {}, 2: {}, 3: {}},
    }
    failures = {
        ("mae <b>", 2): (StepState.FAILED, "CUDA out of memory\nTraceback <script>"),
        ("late", 1): (StepState.RUNNING, ""),
        ("late", 2): (StepState.PENDING, ""),
        ("late", 3): (StepState.PENDING, ""),
    }
    students = {"llava": {"kind": "llava_video", "size": "micro", "micro": {"layers": 3}}}
    plain = {"student": "llava", "students": students, "correspondence": {"weight": 0.0}}
    vggt = {"teachers": {"vggt": {"kind": "vggt"}}, "teacher": "vggt"}
    params: dict[str, dict[str, Any]] = {
        "baseline": {**plain, "teacher": "none", "alignment": {"weight": 1.0}},
        "vggt": {**plain, **vggt, "alignment": {"weight": 1.0}},
        "vggt heavy": {**plain, **vggt, "alignment": {"weight": 3.0}},
        "mae <b>": {**plain, "teacher": "mae", "alignment": {"weight": 1.0}},
        "late": {**plain, "teacher": "mae", "alignment": {"weight": 3.0}},
    }
    return fake_results(values, params, failures)


def per_sample() -> dict[str, list[SampleScore]]:
    """The teacher answers everything, the baseline every fourth question."""
    return {
        f"key-{cell}-{seed}": [
            SampleScore(ACC, f"q{index}", f"room{index % 10}", 100.0 * (index % hits == 0))
            for index in range(30)
        ]
        for cell, hits in (("baseline", 4), ("vggt", 1))
        for seed in (1, 2, 3)
    }


def training() -> dict[str, list[CurvePoint]]:
    """A loss of 2,000 steps and a rarer one."""
    return {
        f"key-{cell}-{seed}": [
            *(CurvePoint(step, "loss", 10.0 / (step + seed)) for step in range(2000)),
            *(CurvePoint(step, "loss/text", 1.0) for step in range(0, 2000, 500)),
        ]
        for cell in ("baseline", "vggt")
        for seed in (1, 2, 3)
    }


@pytest.fixture(params=database_kinds())
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def workspace(tmp_path: Path, database_url: str) -> Path:
    database = open_database(database_url)
    store_run(database, study(), per_sample(), training(), GRID, tmp_path / "logs")
    progress = {"kind": "progress", "done": 120, "total": 350, "note": "loss 0.41"}
    live = tmp_path / "logs" / "key-late-1" / "1.jsonl"
    live.write_text(json.dumps(progress) + "\n", encoding="utf-8")
    database.close()
    return tmp_path


@pytest.fixture
def client(workspace: Path, database_url: str) -> Iterator[TestClient]:
    app = create_app(find_workspace(str(workspace), database_url, environment={}))
    yield TestClient(app, LOCAL)
    app.state.store.close()


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose artifacts are real: scenes, features, students, answers."""
    root = tmp_path_factory.mktemp("tiny") / "workspace"
    write_tiny_run(root)
    return root


@pytest.fixture(scope="session")
def scenes(tiny_root: Path) -> Iterator[TestClient]:
    """The pages over that workspace."""
    app = create_app(find_workspace(str(tiny_root), environment={}))
    yield TestClient(app, LOCAL)
    app.state.store.close()
