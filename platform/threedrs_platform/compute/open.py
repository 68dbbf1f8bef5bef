"""Which place of execution `--ray` means."""

from __future__ import annotations

from threedrs_platform.compute.clusters import NAMES, ClusterLost, check_spelling, why_silent
from threedrs_platform.compute.in_process import Compute, InProcessCompute
from threedrs_platform.compute.ray_tasks import RayCompute
from threedrs_platform.errors import ConfigError, Fault

ONE_AT_A_TIME = (
    "with --ray none steps share one process and its random numbers, so they run one at a time; "
    "for several at a time use --ray local"
)


def open_compute(ray: str, jobs: int | None) -> Compute:
    """The compute that `--ray` names: `none`, `local`, or the address of a cluster.

    Raises:
        ConfigError: no compute has this name, or it cannot run so many steps at a time.
    """
    if ray == "none":
        if jobs is not None and jobs > 1:
            raise ConfigError([Fault(ONE_AT_A_TIME, "--jobs")])
        return InProcessCompute()
    if not ray:
        raise ConfigError([Fault("give `local`, `none` or the address of a cluster", "--ray")])
    check_spelling(ray)
    return RayCompute(None if ray == "local" else ray, jobs)


def check_ray(ray: str, needed: bool) -> None:
    """Tell before anything starts that `--ray` names nothing that can be used.

    Args:
        needed: whether anything is to be executed: what is done needs no cluster.

    Raises:
        ConfigError: it is no address.
        ClusterLost: no cluster answers there.
    """
    if ray:
        check_spelling(ray)
    if needed and ray not in NAMES[:2] and (why := why_silent(ray)) is not None:
        raise ClusterLost(f"--ray {ray}: {why}; nothing was started")
