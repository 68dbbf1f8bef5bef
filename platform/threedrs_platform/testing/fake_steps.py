"""Steps that cost nothing and can be told to misbehave. Parameters say how."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

from threedrs_platform.errors import DataError, StorageError
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.sealed import (
    forget_older,
    keep_sound,
    newest_sound,
    numbered,
    write_sealed,
)
from threedrs_platform.steps import StepTask


def noop(task: StepTask) -> None:
    """Write one small file that depends on parameters and inputs."""
    read = {name: (folder / "out.txt").read_text() for name, folder in task.inputs.items()}
    text = canonical_json({"params": task.params, "inputs": read})
    (task.out / "out.txt").write_text(sha256_text(text))


def measure(task: StepTask) -> None:
    """Like `noop`, and report a metric, two sample scores and a curve."""
    noop(task)
    value = float(task.params.get("value", 1.0))
    task.metric(Metric("fake/value", value, n=2, chance=0.5, ci95=(value - 1, value + 1)))
    task.sample_scores(SampleScore("fake/value", f"s{i}", "scene", value) for i in range(2))
    for step in range(3):
        task.log(step, {"loss": 1.0 / (step + 1)})
    task.warn("this is a fake")


def constant(task: StepTask) -> None:
    """Write the same artifact whatever the other parameters are."""
    (task.out / "out.txt").write_text(str(task.params.get("content", "constant")))


def count(task: StepTask) -> None:
    """Like `measure`, and add a line to the file `params["ledger"]` each time it executes."""
    _begin(task)
    seconds = float(task.params.get("seconds", 0.0))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        task.progress(0, 1)
        time.sleep(0.005)
    measure(task)


def crawl(task: StepTask) -> None:
    """Report progress every hundredth of a second for `params["seconds"]`."""
    steps = max(1, round(float(task.params["seconds"]) * 100))
    for done in range(steps):
        task.progress(done, steps, "crawling")
        time.sleep(0.01)
    noop(task)


def draw(task: StepTask) -> None:
    """Draw one point of a curve every hundredth of a second."""
    for step in range(int(task.params["points"])):
        task.log(step, {"loss": 1.0})
        time.sleep(0.01)
    noop(task)


def resumable(task: StepTask) -> None:
    """Log ten points, crashing once in the middle; the second attempt goes on where it stopped."""
    mark = task.scratch / "done"
    first = int(mark.read_text()) if keep_sound(mark, task.warn) else 0
    for step in range(10):
        task.log(step, {"loss": float(10 - step)})
        if step < first:
            continue
        write_sealed(mark, partial(Path.write_text, data=str(step + 1)))
        if step == 4 and first == 0:
            raise ConnectionError("the network hiccuped")
    noop(task)


def _begin(task: StepTask) -> None:
    """Note in the ledger that somebody executes this, if there is one."""
    if "ledger" in task.params:
        with Path(task.params["ledger"]).open("a") as ledger:
            ledger.write(f"{os.getpid()} {task.params.get('id', '')}\n")


def accumulate(task: StepTask) -> None:
    """Add up ten numbers; as a training, go on from what was kept. Crash once in the middle, unless
    it is `params["steady"]`.

    What it reports and writes depends on every number that was added, also before the crash. With
    `params["ledger"]` it leaves a line there, and takes `params["seconds"]`.
    """
    _begin(task)
    kept = newest_sound(task.scratch, "sums", task.warn)
    sums: list[int] = json.loads(kept.read_text()) if kept else []
    is_first = not sums
    for step in range(10):
        if step >= len(sums):
            sums.append((sums[-1] if sums else 0) + (step + int(task.params["value"])) ** 2)
            state = numbered(task.scratch, "sums", len(sums))
            write_sealed(state, partial(Path.write_text, data=json.dumps(sums)))
            forget_older(task.scratch, "sums")
        task.log(step, {"sum": float(sums[step])})
        task.progress(step, 10)
        time.sleep(float(task.params.get("seconds", 0.0)) / 10)
        if step == 4 and is_first and not task.params.get("steady"):
            raise ConnectionError("the network hiccuped")
    task.metric(Metric("fake/sum", float(sums[-1]), n=len(sums)))
    (task.out / "out.txt").write_text(json.dumps(sums))


def fail(task: StepTask) -> None:
    """Raise what `params["error"]` names."""
    print("about to fail")
    kind = task.params.get("error", "bug")
    errors: dict[str, BaseException] = {
        "bug": ValueError("this step is broken"),
        "data": DataError("scene0000_00 has no depth"),
        "oom": MemoryError("out of memory"),
        "infra": ConnectionError("the network is down"),
        "storage": StorageError("the disk is full"),
        "exit": SystemExit(3),
    }
    raise errors[kind]


def hungry(task: StepTask) -> None:
    """Run out of memory above a micro-batch of 2 scenes."""
    scenes = task.params["training"]["scenes_per_step"]
    micro_batch = scenes // task.settings["training"]["gradient_accumulation"]
    if micro_batch > 2:
        raise MemoryError(f"micro-batch of {micro_batch} scenes does not fit")
    (task.out / "out.txt").write_text(f"{scenes} scenes, {micro_batch} at a time")


def die(task: StepTask) -> None:
    """End the worker process at once, as the kernel's memory killer would."""
    os._exit(9)


def shout(task: StepTask) -> None:
    """Write to stdout, to the log, and through a child process."""
    print("python")
    logging.getLogger("shout").warning("logged")
    subprocess.run(["echo", "child"], check=True)


def doomed(task: StepTask) -> None:
    """Crawl for `params["seconds"]`, then raise an error that no retry cures."""
    crawl(task)
    raise DataError("scene0000_00 has no depth")


def lead(task: StepTask) -> None:
    """Start a group on Ray that takes `params["gpus"]` GPUs, and wait for it as long as it lives.

    The group stands for one of Ray Train: an actor makes it, in a placement group without a name.
    """
    import ray

    made: Any = ray.remote(num_cpus=0)(_Leader)
    leader = made.remote()
    ray.get(leader.gather.remote(task.params["gpus"]))
    (task.scratch / "gathered").write_text("")
    ray.get(leader.work.remote(task.params["seconds"]))
    (task.out / "out.txt").write_text("done")


class _Leader:
    def gather(self, gpus: int) -> None:
        from ray.util.placement_group import placement_group

        self.group = placement_group([{"GPU": 1}] * gpus)
        assert self.group.wait(60)

    def work(self, seconds: float) -> None:
        from ray.util.placement_group import remove_placement_group

        time.sleep(seconds)
        remove_placement_group(self.group)
