"""A training of two ranks on two nodes of Slurm, beside the same ranks on one node.

    python tests/bench/slurm_nodes.py [--torchrun]

Starts a Slurm of two nodes on this machine (apt-get install slurm-wlm munge; root). While they
train, their job is told to stop, as before a preemption, and goes on from its checkpoint; later the
rank of the second node is killed. With --torchrun two agents start the workers, and nothing is
stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.testing.local_slurm import local_slurm, why_not

ROOT = Path(__file__).resolve().parents[2]
GRID = """\
version: 1
name: nodes
base: {preset: micro, teacher: none, training.strategy: ddp, training.workers: 2}
steps:
  finetune: {nodes: 2, cpus: 2}
"""
SETS = ["training.steps=400", "training.checkpoint_every=20", "training.log_every=20"]
PATIENCE_S = 1500.0
MAIN = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"


def workflows(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A verb in a process of its own, on a workspace in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "--workspace", str(folder / "workspace"), *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "told").open("a"),
        text=True,
    )


def submit(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Submit the grid in its smallest sizes, up to the predictions."""
    (folder / "grid.yaml").write_text(GRID)
    sets = [word for each in SETS for word in ("--set", each)]
    return workflows(folder, "submit", "grid.yaml", "--smoke", *sets, "--until", "predict", *words)


def told(folder: Path) -> dict[str, Any]:
    """What the journal says of the training: its attempts, and the curves of the last one."""
    attempts, curves, steps = schema.attempts, schema.curves, schema.steps
    with find_workspace(str(folder / "workspace"), environment={}) as workspace:
        with workspace.database.read() as connection:
            key = connection.scalar(select(steps.c.key).where(steps.c.kind == "finetune"))
            tries = connection.execute(
                select(attempts).where(attempts.c.step_key == key).order_by(attempts.c.n)
            ).all()
            values = connection.execute(select(curves).where(curves.c.step_key == key)).all()
            digest = connection.scalar(select(steps.c.output_digest).where(steps.c.key == key))
        log = Path(workspace.log(str(key)).format(attempt=1)) if key else None
    timed = ("seconds", "per_second", "memory", "share", "speed/")
    return {
        "tries": [(each.state, each.failure, each.message) for each in tries],
        "curve": {
            (row.step, row.name): row.value
            for row in values
            if not any(word in row.name for word in timed)
        },
        "digest": digest,
        "rank logs": sorted(each.name for each in log.parent.glob("*.rank-*.log")) if log else [],
    }


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What a condition yields, once it does."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.5)
    return found


def run(*words: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def checkpoint_since(folder: Path, began: float) -> bool:
    """Whether a training has left a checkpoint since a time."""
    found = folder.glob("workspace/scratch/*/*/work/checkpoints/step*")
    return any(each.stat().st_mtime > began for each in found)


def ranks_of(node: str) -> list[int]:
    """Processes of ranks that Slurm started on one of its nodes."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes().split(b"\0")
            command = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SLURMD_NODENAME={node}".encode() in environment and b"spawn_main" in command:
            found.append(int(place.name))
    return found


def wait_until_it_trains(folder: Path, follower: subprocess.Popen[str]) -> None:
    """Until a checkpoint is written from now on, or all is over."""
    began = time.time()

    def looks() -> bool:
        hurry()
        return checkpoint_since(folder, began) or follower.poll() is not None

    wait_for(looks, "no checkpoint")


def hurry() -> None:
    """Let jobs that were put back start at once: Slurm has them wait for two minutes."""
    for line in run("squeue", "-h", "-o", "%i %r").splitlines():
        job, _, reason = line.partition(" ")
        if reason == "BeginTime":
            run("scontrol", "update", f"JobId={job}", "StartTime=now")


def on_slurm(folder: Path) -> int:
    """Submit to Slurm, stop the job once, kill a rank once; the exit code."""
    follower = submit(folder, "--slurm", "--slurm-jobs=1")
    wait_until_it_trains(folder, follower)
    training = [line.split() for line in run("squeue", "-h", "-o", "%i %D %T").splitlines()]
    for job, nodes, state in training:
        if nodes == "2" and state == "RUNNING":
            print(f"  SIGTERM to job {job} on {nodes} nodes", flush=True)
            run("scancel", "--batch", "--signal=TERM", job)
            time.sleep(6)  # what it still writes is not of the next attempt
    wait_until_it_trains(folder, follower)
    for victim in ranks_of("node1")[-1:]:
        print(f"  SIGKILL to rank process {victim} on node1", flush=True)
        os.kill(victim, signal.SIGKILL)
    while follower.poll() is None:
        hurry()
        time.sleep(1)
    return follower.wait()


def by_torchrun(folder: Path) -> int:
    """Everything but trainings by a plain worker, trainings by two agents of torchrun."""
    recorded = submit(folder, "--slurm", "--no-wait")
    recorded.wait()
    run("scancel", "--user=root")  # it was wanted for its record alone
    others = "scenes,prepare,samples,pretrain,predict"
    light = workflows(folder, "--ray", "none", "work", "--kinds", others)
    worker = ["--no-python", sys.executable, "-c", MAIN, "--workspace", str(folder / "workspace")]
    rendezvous = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *rendezvous, "--master-port", "29511",
             "--node-rank", str(rank), *worker, "work", "--kinds", "finetune", "--group"],
            cwd=folder,
            stderr=(folder / "told").open("a"),
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]  # fmt: skip
    codes = [each.wait(PATIENCE_S) for each in agents]
    return max(codes) or light.wait(PATIENCE_S)


def main() -> int:
    """Print what happened; 1 unless both trainings agree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torchrun", action="store_true")
    args = parser.parse_args()
    if why := why_not():
        print(f"no Slurm: {why}")
        return 2
    rooms = ("platform", "components", "workflows", "dashboards")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / room) for room in rooms)
    os.environ |= {"THREEDRS_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        plain, shared = folder / "plain", folder / "shared"
        for each in (plain, shared):
            each.mkdir()
        began = time.monotonic()
        print(f"one node: exit {submit(plain, '--ray', 'none').wait(PATIENCE_S)}", flush=True)
        print(f"  after {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        place = stack.enter_context(local_slurm(folder / "slurm", 2, nodes=2))
        os.environ["SLURM_CONF"] = str(place)
        code = by_torchrun(shared) if args.torchrun else on_slurm(shared)
        print(f"two nodes: exit {code} after {time.monotonic() - began:.0f} s", flush=True)
        one, two = told(plain), told(shared)
        for name, found in (("one node", one), ("two nodes", two)):
            print(f"{name}: {found['digest']}")
            for each in found["tries"]:
                print(f"  {each}")
            print(f"  logs of ranks: {', '.join(found['rank logs'])}")
        losses = [name for _, name in one["curve"] if name == "loss"]
        same = one["curve"] == two["curve"] and one["digest"] == two["digest"]
        print(f"{len(one['curve'])} points of curves, {len(losses)} of the loss")
        print(f"curves and weights equal to the bit: {'yes' if same else 'NO'}")
        for step, name in sorted(one["curve"].keys() | two["curve"].keys()):
            values = [found["curve"].get((step, name)) for found in (one, two)]
            if values[0] != values[1]:
                print(f"  {name} at {step}: {values[0]} and {values[1]}")
        if code or not same:
            for log in sorted(shared.glob("workspace/slurm/*/*.log")):
                print(f"== {log}\n{log.read_text()[-3000:]}")
            print((shared / "told").read_text()[-3000:])
        return 0 if same and losses and not code else 1


if __name__ == "__main__":
    sys.exit(main())
