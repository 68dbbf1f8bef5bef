"""A step that is built again has the same bytes: else all that reads it would be built again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threedrs_workflows import steps

pytestmark = pytest.mark.whole

KINDS = sorted(
    path.stem
    for path in Path(str(steps.__file__)).parent.glob("*.py")
    if "def run(" in path.read_text()
)
Digests = dict[str, list[str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Digests]:
    """Digests of all kinds of step, twice: in other folders, with other hashes of words."""
    module = "threedrs_workflows.testing.step_digests"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(tmp_path_factory.mktemp(name))],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        )
        for seed, name in (("1", "first"), ("2", "another"))
    ]
    try:
        printed = [process.communicate(timeout=280)[0] for process in processes]
        return [json.loads(each.splitlines()[-1]) for each in printed]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_built_twice_has_one_digest(kind: str, built: list[Digests]) -> None:
    first, second = built
    assert first[kind] == second[kind]
