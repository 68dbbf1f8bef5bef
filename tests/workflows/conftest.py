"""Fixtures of tests that run steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from threedrs_platform.workspace import find_workspace
from threedrs_workflows.testing.engine_bench import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a fresh workspace."""
    with find_workspace(str(tmp_path / "workspace"), environment={}) as workspace:
        made = Engine(workspace)
        yield made
        made.compute.close()
