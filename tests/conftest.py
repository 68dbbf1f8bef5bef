"""Fixtures for all rooms."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole session, started as the engine starts it."""
    from threedrs_platform.compute.ray_tasks import RayCompute
    from threedrs_platform.steps import Resources

    compute = RayCompute(jobs=2)
    compute.refusal(Resources())
    yield
    compute.close()
