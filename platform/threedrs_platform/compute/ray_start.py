"""How a local Ray is started and a cluster joined: quietly, guarded, with our signal handlers."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import psutil

from threedrs_platform.compute.in_process import one_thread_per_step
from threedrs_platform.compute.ray_reaper import start_reaper
from threedrs_platform.errors import StorageError
from threedrs_platform.fake_gpus import fake_gpus

LOCAL_OBJECT_STORE_BYTES = (1 << 30) // 4
"""Requests and reports are small; the default would claim 30% of the machine's memory."""
STARTS = 2
"""How often a local Ray is started that does not come up in Ray's own time (a minute): a machine
may be busy for a while."""
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
FOREVER_S = "86400"
OUR_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
log = logging.getLogger(__name__)


def start_local(ray: Any, cpus: int) -> subprocess.Popen[bytes]:
    """Start a Ray on this machine, again if the machine was too busy for it.

    Args:
        ray: the module, imported after `use_private_token`.
        cpus: steps that it has room for; at least as many as the machine has CPUs.

    Returns:
        the process that ends what is left of it should this one be killed.

    Raises:
        StorageError: it does not start.
    """
    earlier = _ray_children()
    for number in range(1, STARTS + 1):
        try:
            ray.init(
                address="local",
                num_cpus=max(cpus, os.cpu_count() or 1),
                num_gpus=fake_gpus() or None,
                include_dashboard=False,
                object_store_memory=LOCAL_OBJECT_STORE_BYTES,
                **_quiet(ray),
            )
            break
        except Exception as error:
            _clear(ray, earlier)
            if not _did_not_come_up(error):
                raise
            if number == STARTS:
                tried = f"cannot start local Ray, tried {STARTS} times"
                raise StorageError(f"{tried}: {error}") from error
            log.warning("local Ray did not come up (%s); starting it again", _first_line(error))
    session = ray._private.worker._global_node.get_session_dir_path()
    return start_reaper(session)


def join(ray: Any, address: str) -> None:
    """Join a running cluster.

    Raises:
        StorageError: it does not let us.
    """
    try:
        with _patient_with_head(os.environ):
            # Workers of a local Ray inherit our environment; those of a cluster are told.
            ray.init(address=address, runtime_env=_worker_environment(), **_quiet(ray))
    except Exception as error:
        if not _did_not_come_up(error):
            raise
        raise StorageError(f"cannot join the Ray at {address}: {error}") from error


def _did_not_come_up(error: Exception) -> bool:
    """Ray raises a bare Exception where a machine is too busy to start it."""
    known = (ConnectionError, TimeoutError, RuntimeError)
    return isinstance(error, known) or type(error) is Exception


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _ray_children() -> set[psutil.Process]:
    """Processes of a Ray that this one has started."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("/ray/" in part for part in child.cmdline()):
                found.add(child)
    return found


def _clear(ray: Any, spare: set[psutil.Process]) -> None:
    """Leave nothing of a start that failed: Ray forgets the processes that it began with."""
    with contextlib.suppress(Exception):
        ray.shutdown()
    left = _ray_children() - spare
    for child in left:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(left, timeout=10)


def _quiet(ray: Any) -> dict[str, Any]:
    """What every Ray of ours is told."""
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    return quiet | {"job_config": without_folders(ray)}


class _NoFolders(list[str]):
    """Stays empty: Ray adds the current folder and that of the program, so that a reader's own
    `yaml.py` would be imported by every worker."""

    def extend(self, folders: Iterable[str]) -> None:
        """Add nothing."""


def without_folders(ray: Any) -> Any:
    """Settings of a job whose workers import nothing from the folder that we stand in."""
    config = ray.job_config.JobConfig()
    config._py_driver_sys_path = _NoFolders()
    return config


@contextlib.contextmanager
def _patient_with_head(environment: os._Environ[str]) -> Iterator[None]:
    """Keep Ray from ending this process a minute after its head: attempts are given back first."""
    ours = RECONNECT not in environment
    environment.setdefault(RECONNECT, FOREVER_S)  # read while Ray is joined
    try:
        yield
    finally:
        if ours:
            del environment[RECONNECT]


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Put our handlers back: Ray's own ends the process on SIGTERM, with the run left as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nor can Ray set any here
        return
    before = [(number, signal.getsignal(number)) for number in OUR_SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            if handler is not None:
                signal.signal(number, handler)


def keep_off_stdout(ray: Any) -> None:
    """Send the cluster's complaints to the log: Ray prints them to stdout, which is the verb's.

    Each of them comes to us as an exception too, from the task it is about.
    """
    ray._private.worker.print_to_stdstream = lambda data, **_: log.info("%s", data.get("lines"))


def use_private_token(environment: os._Environ[str]) -> None:
    """Guard a local Ray by a token of its own, which lives in this process and its children.

    Left alone, Ray would write a token into the user's home. It reads the mode when it is
    imported, which the caller's program may have done already.
    """
    if "RAY_AUTH_MODE" in environment:
        return
    environment["RAY_AUTH_MODE"] = "token"
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & environment.keys():
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray

    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def _worker_environment() -> dict[str, Any]:
    """One runtime environment for the whole run: each distinct one costs fresh workers."""
    variables: dict[str, str] = {}
    one_thread_per_step(variables)
    return {"env_vars": variables}
