"""A local Ray comes up on a busy machine, and in a program that uses Ray itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threedrs_platform.compute import ray_start
from threedrs_platform.errors import StorageError


class FakeRay:
    """Fails to come up as often as it is told to, and leaves a process each time."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.left = [*errors], list[subprocess.Popen[bytes]]()
        self.job_config = SimpleNamespace(JobConfig=SimpleNamespace)
        self._private = SimpleNamespace(
            worker=SimpleNamespace(_global_node=SimpleNamespace(get_session_dir_path=lambda: "ray"))
        )

    def init(self, **_: Any) -> None:
        program = "import time; time.sleep(60)"
        self.left.append(subprocess.Popen([sys.executable, "-S", "-c", program, "/ray/gcs"]))
        if self.errors:
            raise self.errors.pop(0)

    def shutdown(self) -> None:
        """Nothing to shut down: it knows of no node."""


@pytest.fixture(autouse=True)
def no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start, "start_reaper", lambda session: session)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def test_a_busy_machine_is_tried_again_and_nothing_of_the_first_try_stays() -> None:
    ray = FakeRay(Exception("The current node timed out during startup.\nMore of it"))
    try:
        reaper: Any = ray_start.start_local(ray, 1)
        assert reaper == "ray"
        assert [ended(each) for each in ray.left] == [True, False]
    finally:
        ray.left[-1].kill()
        ray.left[-1].wait()


def test_it_is_not_tried_for_ever() -> None:
    ray = FakeRay(*[TimeoutError("no answer")] * 9)
    with pytest.raises(StorageError, match="cannot start local Ray, tried 2 times: no answer"):
        ray_start.start_local(ray, 1)
    assert len(ray.left) == ray_start.STARTS and all(ended(each) for each in ray.left)


def test_a_mistake_of_ours_is_no_busy_machine() -> None:
    ray = FakeRay(TypeError("no such argument"))
    with pytest.raises(TypeError):
        ray_start.start_local(ray, 1)
    assert len(ray.left) == 1 and ended(ray.left[0])


@pytest.mark.ray
def test_a_program_that_has_imported_ray_starts_one_and_its_home_stays_as_it_was(
    tmp_path: Path,
) -> None:
    program = """
import ray
from threedrs_platform.compute.ray_tasks import RayCompute
from threedrs_platform.steps import Resources
compute = RayCompute()
print(compute.refusal(Resources(gpus=99)))
compute.close()
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "it needs 99 GPU, local Ray has 0\n", done.stderr
    assert not [*tmp_path.iterdir()]
