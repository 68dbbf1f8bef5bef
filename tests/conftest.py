"""Fixtures for all rooms."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def clean_current_folder() -> Iterator[None]:
    """No test leaves a database in the current folder, as MLflow's defaults would."""
    before = _databases()
    yield
    assert _databases() <= before, "a test has written a database into the current folder"


def _databases() -> set[Path]:
    patterns = ("*.db", "*.db-*", "*.sqlite*", "mlruns", "mlartifacts")
    return {path for pattern in patterns for path in Path().glob(pattern)}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole session, started as the engine starts it."""
    from threedrs_platform.compute.ray_tasks import RayCompute
    from threedrs_platform.steps import Resources

    compute = RayCompute(jobs=2)
    compute.refusal(Resources())
    yield
    compute.close()
