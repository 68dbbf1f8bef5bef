"""A real Slurm on this machine, in a folder: controller, keys, and daemons of its nodes."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
PATIENCE_S = 30.0
_NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
_NODE += "RealMemory=1000 State=UNKNOWN"

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=20
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; empty if one can."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in DAEMONS if shutil.which(name, path=search) is None]
    if missing:
        return f"no {', '.join(missing)} here: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "its daemons need root"


@contextmanager
def local_slurm(folder: Path, cpus: int = 8, nodes: int = 1) -> Iterator[Path]:
    """Start the daemons; yields the configuration file, for $SLURM_CONF.

    Args:
        folder: empty; only its owner may write to it and to what is above it, for munge's sake.
        cpus: that each node claims to have.
        nodes: how many this machine claims to be.

    Raises:
        TimeoutError: the node does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    names = [f"node{number}" for number in range(nodes)]
    lines = [_NODE.format(name=name, host=host, port=_free_port(), cpus=cpus) for name in names]
    file = folder / "slurm.conf"
    file.write_text(
        _CONFIGURATION.format(folder=folder, host=host, port=_free_port(), nodes="\n".join(lines))
    )
    environment = {**os.environ, "SLURM_CONF": str(file)}
    environment["PATH"] = f"{environment['PATH']}:/usr/sbin:/sbin"
    files = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    files |= {"key-file": "munge.key", "seed-file": "munge.seed"}
    munge = [f"--{option}={folder / name}" for option, name in files.items()]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("ab") as log:
            daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    try:
        start("munged", "--force", "--foreground", *munge)
        _wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        start("slurmctld", "-D", "-c")
        for name in names:
            start("slurmd", "-D", "-N", name)
        _wait_for(lambda: _is_idle(environment), "the node")
        yield file
    finally:
        subprocess.run(
            ["scancel", "--user=root", "--signal=KILL"], env=environment, check=False, timeout=10
        )
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)


def _is_idle(environment: dict[str, str]) -> bool:
    asked = ["sinfo", "--noheader", "--Node", "--format=%t"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    return set(done.stdout.split()) == {"idle"}


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} does not come up")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
