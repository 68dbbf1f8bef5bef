"""A supervisor as a job of the cluster itself, which goes on when the submitting process ends."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from threedrs_platform.compute.clusters import ClusterLost, why_silent, within
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.shown_urls import without_secrets

PASSED_ON = (
    "THREEDRS_DATABASE_URL",
    "THREEDRS_ARTIFACTS",
    "THREEDRS_TRACKING",
    "MLFLOW_TRACKING_URI",
)
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
# The shell's parent is a worker of Ray, whose parent is told which Python workers run under.
_ENTRYPOINT = """\
cd {folder} 2>/dev/null
raylet=$(sed 's/.*) [A-Z] \\([0-9]*\\) .*/\\1/' "/proc/$PPID/stat")
theirs=$(tr '\\0' '\\n' < "/proc/$raylet/cmdline" |
  sed -n 's/^--python_worker_command=\\([^ ]*\\).*/\\1/p')
for python in "$theirs" python3 python; do
  "$python" -c 'import ray' 2>/dev/null && exec "$python" {command}
done
echo 'no Python that has Ray was found on the head' >&2
exit 1
"""
CONNECT_S = 30.0
NO_AGENT = "No available agent"
AGENT_HINT = (
    " Its head has no agent yet, or another Ray on that machine holds the agent's port: see "
    "dashboard_agent.log there; `--wait` needs none"
)
MOST_SAID = 5
"""Lines that are told of a job's end, besides what Ray calls it."""
NO_JOBS = (
    "takes no jobs: its dashboard does not run. Start the head with "
    "`ray start --head --include-dashboard=true` (pip install 'ray[default]'), or follow "
    "the run from here: --wait"
)


class RayJobs:
    """The jobs of one cluster."""

    def __init__(self, address: str, patience_s: float = CONNECT_S) -> None:
        """Find the cluster's job server.

        Raises:
            ClusterLost: it has none.
        """
        self._client: Any = within(patience_s, lambda: _client(address))
        if self._client is None:
            raise ClusterLost(f"Ray at {address} {NO_JOBS}")

    def supervise(
        self,
        run_id: str,
        command: Sequence[str],
        packages: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
    ) -> str:
        """Have a run supervised by a job, unless one does that already; returns the job's id.

        Args:
            run_id: of the run.
            command: that supervises it: what the cluster's own Python is told.
            packages: shipped with the job as they are here; Ray keeps each content once.
            environment: variables that it needs.
            folder: where it works, if the head has it.

        Raises:
            ClusterLost: the cluster does not take the job.
        """
        number = 1
        while (state := self.state(name := _job_id(run_id, number))) in ENDED:
            number += 1
        if state is None:
            try:
                self._client.submit_job(
                    entrypoint=entrypoint(command, folder),
                    submission_id=name,
                    runtime_env={"py_modules": _folders(packages), "env_vars": dict(environment)},
                    metadata={"run": run_id},
                )
            except (RuntimeError, OSError) as error:
                if self.state(name) is None:  # else somebody else was quicker
                    why = f"{error}{AGENT_HINT if NO_AGENT in str(error) else ''}"
                    raise ClusterLost(f"the cluster does not take job {name}: {why}") from error
        return name

    def ended(self, job: str) -> str | None:
        """The last words of a job that is over, None of one that is not.

        A job that could not begin has printed nothing: then Ray says why.
        """
        if self.state(job) not in ENDED:
            return None
        told, said = "", ""
        with suppress(RuntimeError, OSError):  # it is over, whether or not anyone tells why
            about = self._client.get_job_info(job)
            told = str(about.message or "").strip()
            # Ray's log repeats the entry point.
            said = str(self._client.get_job_logs(job)).replace(str(about.entrypoint), "").strip()
        if said:  # which Ray's message repeats after its first line
            told = told.partition("\n")[0]
        first, *others = [*told.splitlines(), *said.splitlines()] or [""]
        return "\n".join([first, *others[-MOST_SAID:]])

    def stop(self, job: str) -> bool:
        """Stop a job; whether it had not ended."""
        if self.state(job) in (None, *ENDED):
            return False
        try:
            return bool(self._client.stop_job(job))
        except (RuntimeError, OSError) as error:
            raise ClusterLost(f"its job server does not answer: {error}") from error

    def state(self, job: str) -> str | None:
        """As Ray calls it, e.g. RUNNING; None of a job that the cluster does not know.

        Raises:
            ClusterLost: the job server does not answer any more.
        """
        try:
            return str(self._client.get_job_status(job).value)
        except RuntimeError:  # of the job server: it knows no such job
            return None
        except OSError as error:
            raise ClusterLost(f"its job server does not answer: {error}") from error


def entrypoint(command: Sequence[str], folder: Path) -> str:
    """What the head's shell is told: it finds the Python that its Ray runs under.

    Nothing of this machine is in it but a folder, which the head may or may not have.
    """
    return _ENTRYPOINT.format(folder=shlex.quote(str(folder)), command=shlex.join(command))


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
    if why_silent(address) is not None:  # which shows a guarded cluster our token, too
        return None
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, ValueError, RuntimeError, AuthenticationError):
        return None


def _job_id(run_id: str, number: int) -> str:
    """The same for everybody who wants this run supervised."""
    return f"threedrs-{run_id}" + (f"-{number}" if number > 1 else "")


def _folders(packages: Sequence[str]) -> list[str]:
    specs = [importlib.util.find_spec(name) for name in packages]
    return [str(Path(str(spec.origin)).parent) for spec in specs if spec is not None]
