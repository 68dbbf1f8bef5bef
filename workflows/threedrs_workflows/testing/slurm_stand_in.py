"""A stand-in for Slurm's commands, for tests without its daemons: job arrays are processes here.

`install` puts sbatch, srun, squeue, scancel and scontrol on the PATH. It knows what workflows
uses: `#SBATCH` lines, arrays, requeue with a count of restarts, signals to a job's script, states.
Jobs lie as folders in $SLURM_STAND_IN: `state`, `pid` and what `sbatch` was told.
"""

import contextlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

ROOT = Path(os.environ.get("SLURM_STAND_IN", "/nonexistent"))
GONE = ("COMPLETED", "FAILED", "CANCELLED")


VERBS = ("sbatch", "srun", "squeue", "scancel", "scontrol")


def install(folder: Path, environment: MutableMapping[str, str]) -> Path:
    """Put the commands into a new folder and on the PATH; returns the folder of the jobs."""
    commands, jobs = folder / "bin", folder / "jobs"
    for each in (commands, jobs):
        each.mkdir(parents=True)
    for name in VERBS:
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        script.chmod(0o755)
    environment["PATH"] = f"{commands}:{environment['PATH']}"
    environment["SLURM_STAND_IN"] = str(jobs)
    return jobs


def sbatch(words: list[str]) -> None:
    """Start the tasks of a script."""
    script = Path(words[-1])
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    told = [word for line in lines for word in shlex.split(line[len("#SBATCH ") :])]
    options = dict(word.lstrip("-").partition("=")[::2] for word in told)
    if options.get("partition") == "nowhere":
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    job = str(len(list(ROOT.iterdir())) + 1)
    last = int(options["array"].partition("-")[2])
    for task in range(last + 1):
        folder = ROOT / f"{job}_{task}"
        folder.mkdir()
        about = {"script": str(script), "name": options["job-name"], "log": options["output"]}
        (folder / "about").write_text(json.dumps(about))
        (folder / "state").write_text("PENDING")
        subprocess.Popen(
            [sys.executable, __file__, "task", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    print(job)


def task(words: list[str]) -> None:
    """What Slurm's daemon does with one task: run it, and again while it is put back."""
    folder = Path(words[0])
    about = json.loads((folder / "about").read_text())
    job, _, number = folder.name.partition("_")
    log = about["log"].replace("%A", job).replace("%a", number)
    for restart in range(1000):
        here = {"SLURM_JOB_ID": folder.name, "SLURM_RESTART_COUNT": str(restart)}
        with open(log, "ab") as output:
            process = subprocess.Popen(
                ["bash", about["script"]],
                stdout=output,
                stderr=output,
                env={**os.environ, **here},
                start_new_session=True,
            )
            (folder / "pid").write_text(str(process.pid))
            move(folder, "RUNNING", "PENDING")
            code = process.wait()
        if not move(folder, "PENDING", "REQUEUED"):
            move(folder, "COMPLETED" if code == 0 else "FAILED", "RUNNING")
            return


def srun(words: list[str]) -> None:
    """Start a command once for each task, and end with the worst of their codes."""
    told = list(itertools.takewhile(lambda word: word.startswith("--"), words))
    options = dict(word.lstrip("-").partition("=")[::2] for word in told)
    size, tasks = int(options["ntasks"]), list[subprocess.Popen[bytes]]()

    def forward(number: int, _: object) -> None:
        for each in tasks:
            each.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    (ROOT / os.environ["SLURM_JOB_ID"] / "step").write_text(str(os.getpid()))
    for number in range(size):
        here = {"SLURM_PROCID": str(number), "SLURM_NODEID": str(number), "SLURM_LOCALID": "0"}
        here |= {"SLURM_STEP_NUM_TASKS": str(size), "SLURM_STEP_ID": "0"}
        here |= {"SLURM_STEP_TASKS_PER_NODE": f"1(x{size})"}
        tasks.append(subprocess.Popen(words[len(told) :], env={**os.environ, **here}))
    while any(each.poll() is None for each in tasks):
        if any(each.returncode for each in tasks):
            forward(signal.SIGKILL, None)
        time.sleep(0.05)
    sys.exit(max(128 - code if (code := each.returncode) < 0 else code for each in tasks))


def move(folder: Path, state: str, before: str) -> bool:
    """Change a task's state if it is still the one before."""
    file = folder / "state"
    if file.read_text() != before:
        return False
    file.with_suffix(".new").write_text(state)
    file.with_suffix(".new").replace(file)
    return True


def squeue(words: list[str]) -> None:
    """List what is not gone."""
    told = dict(word.lstrip("-").partition("=")[::2] for word in words if "=" in word)
    wanted = words[words.index("-j") + 1] if "-j" in words else None
    for folder in sorted(ROOT.iterdir()):
        state = (folder / "state").read_text().replace("REQUEUED", "COMPLETING")
        name = json.loads((folder / "about").read_text())["name"]
        if state in GONE or wanted not in (None, folder.name) or told.get("name", name) != name:
            continue
        print(state if wanted else f"{folder.name}|{state}|None")


def scancel(words: list[str]) -> None:
    """Signal scripts, or end jobs."""
    only_signal = any(word.startswith("--signal") for word in words)
    names = [word for word in words if not word.startswith("-")]
    for folder in ROOT.iterdir():
        if f"{folder.name}.0" in names:
            os.kill(int((folder / "step").read_text()), signal.SIGTERM)
        elif folder.name in names or folder.name.partition("_")[0] in names:
            if only_signal:
                kill(folder, everything=False)
            elif move(folder, "CANCELLED", "RUNNING") or move(folder, "CANCELLED", "PENDING"):
                kill(folder, everything=True)


def scontrol(words: list[str]) -> None:
    """Put a job back into the queue: it is stopped, and begins anew."""
    if words[0] == "requeue" and move(ROOT / words[1], "REQUEUED", "RUNNING"):
        kill(ROOT / words[1], everything=True)


def kill(folder: Path, everything: bool) -> None:
    """TERM to a task's script, or to all its processes, as Slurm does before it kills them."""
    for _ in range(100):
        if (folder / "pid").exists():
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        pid = int((folder / "pid").read_text())
        (os.killpg if everything else os.kill)(pid, signal.SIGTERM)


if __name__ == "__main__":
    {each.__name__: each for each in (sbatch, srun, task, squeue, scancel, scontrol)}[sys.argv[1]](
        sys.argv[2:]
    )
