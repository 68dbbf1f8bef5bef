"""Fixtures for all rooms."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Tiny models are fastest on one thread, and tests run side by side. Set before torch is loaded;
# a caller's choice stays, since no test may depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is, not whether it is right.
settings.register_profile("threedrs", deadline=None)
settings.load_profile("threedrs")


@pytest.fixture(scope="session", autouse=True)
def clean_current_folder() -> Iterator[None]:
    """No test leaves a database in the current folder, as MLflow's defaults would."""
    before = _databases()
    yield
    assert _databases() <= before, "a test has written a database into the current folder"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one run: a cell of the micro world in its smallest sizes."""
    from threedrs_workflows.testing.tiny_cell import write_tiny_cell

    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREEDRS_TRACKING", "off")
        write_tiny_cell(workspace)
    return workspace


def _databases() -> set[Path]:
    patterns = ("*.db", "*.db-*", "*.sqlite*", "mlruns", "mlartifacts")
    return {path for pattern in patterns for path in Path().glob(pattern)}


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole session, started as the engine starts it; with two fake GPUs."""
    from threedrs_platform.compute.ray_tasks import RayCompute
    from threedrs_platform.fake_gpus import FAKE_GPUS
    from threedrs_platform.steps import Resources

    compute = RayCompute(jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAKE_GPUS, "2")
        compute.refusal(Resources())
    yield
    compute.close()
