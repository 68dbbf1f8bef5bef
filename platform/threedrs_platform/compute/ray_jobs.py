"""A supervisor as a job of the cluster itself, which goes on when the submitting process ends."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threedrs_platform.compute.clusters import ClusterLost, within
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.shown_urls import without_secrets

PASSED_ON = (
    "THREEDRS_DATABASE_URL",
    "THREEDRS_ARTIFACTS",
    "THREEDRS_TRACKING",
    "MLFLOW_TRACKING_URI",
)
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
CONNECT_S = 30.0
NO_JOBS = (
    "takes no jobs: its dashboard does not run. Start the head with "
    "`ray start --head --include-dashboard=true` (pip install 'ray[default]'), or stay with the "
    "run: leave out --no-wait"
)


class RayJobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Find the cluster's job server.

        Raises:
            ClusterLost: it has none.
        """
        self._client: Any = within(CONNECT_S, lambda: _client(address))
        if self._client is None:
            raise ClusterLost(f"Ray at {address} {NO_JOBS}")

    def supervise(
        self,
        run_id: str,
        command: Sequence[str],
        packages: Sequence[str],
        environment: Mapping[str, str],
    ) -> str:
        """Have a run supervised by a job, unless one does that already; returns the job's id.

        Args:
            run_id: of the run.
            command: that supervises it.
            packages: shipped with the job as they are here; Ray keeps each content once.
            environment: variables that it needs.
        """
        number = 1
        while (state := self._state(name := _job_id(run_id, number))) in ENDED:
            number += 1
        if state is None:
            self._client.submit_job(
                entrypoint=shlex.join(command),
                submission_id=name,
                runtime_env={"py_modules": _folders(packages), "env_vars": dict(environment)},
                metadata={"run": run_id},
            )
        return name

    def ended(self, job: str) -> str | None:
        """The last words of a job that is over, None of one that is not."""
        if self._state(job) not in ENDED:
            return None
        return "\n".join(str(self._client.get_job_logs(job)).strip().splitlines()[-5:])

    def _state(self, job: str) -> str | None:
        try:
            return str(self._client.get_job_status(job).value)
        except RuntimeError:  # of the job server: it knows no such job
            return None


def passed_on(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that a supervisor on the cluster needs.

    Raises:
        ConfigError: one holds a password, which every user of the cluster would see.
    """
    found = {name: environment[name] for name in PASSED_ON if environment.get(name)}
    faults = [
        Fault(
            "holds a password, which the cluster would show to all its users; "
            "keep it in ~/.pgpass or the environment of the head",
            name,
        )
        for name, value in found.items()
        if without_secrets(value) != value
    ]
    if faults:
        raise ConfigError(faults)
    return found


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, ValueError, RuntimeError):
        return None


def _job_id(run_id: str, number: int) -> str:
    """The same for everybody who wants this run supervised."""
    return f"threedrs-{run_id}" + (f"-{number}" if number > 1 else "")


def _folders(packages: Sequence[str]) -> list[str]:
    specs = [importlib.util.find_spec(name) for name in packages]
    return [str(Path(str(spec.origin)).parent) for spec in specs if spec is not None]
