"""Training in a worker group of Ray Train."""

from __future__ import annotations

import json
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from threedrs_components.devices import backend_for, device_for
from threedrs_components.training.checkpoints import forget_damaged
from threedrs_components.training.launch import root_cause
from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import StepFailed, ThreedrsError
from threedrs_platform.memory import MemoryMarks, is_out_of_memory, memory_killed, memory_marks
from threedrs_platform.sealed import Warn

POLL_S = 0.5
SETTINGS = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # 60 s is short on a cold or busy cluster
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths of a grid are relative to where it was submitted
}
"""What Ray Train reads from the environment of the step."""


def ray_is_on() -> bool:
    """Whether this process belongs to a Ray cluster."""
    try:
        import ray
    except ImportError:
        return False
    return bool(ray.is_initialized())


@dataclass(frozen=True)
class GroupResources:
    """What all workers of a group take together. The step that starts them holds none of it."""

    cpus: float
    gpus: float = 0
    memory_gib: float | None = None

    def of_each(self, workers: int, cpus_there: float) -> dict[str, float]:
        """One worker's part, as Ray counts. A small machine gives what it has, and is just slow."""
        # Rounded down to Ray's unit: the parts must not add up to more than there is.
        cpus = math.floor(1e4 * min(self.cpus, cpus_there) / workers) / 1e4
        part = {"CPU": cpus, "GPU": self.gpus / workers}
        part["memory"] = math.floor((self.memory_gib or 0) * 2**30 / workers)
        return {name: amount for name, amount in part.items() if amount}


def train_on_ray(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    resources: GroupResources,
    warn: Warn = warnings.warn,
    begins: Callable[[Path | None], None] = lambda checkpoint: None,
) -> TrainingSummary:
    """Train with Ray's TorchTrainer; checkpoints are ours, in `checkpoint_dir`.

    The workers leave their reports in a file, which this process reads while it waits;
    `checkpoint_dir` and `out` must be folders that all workers reach. A damaged checkpoint is told
    to `warn`, and training falls back to the one before; `begins` hears of the one that it goes on
    from, or of none.

    Raises:
        StepFailed: the cluster had no room for the group.
    """
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    begins(forget_damaged(checkpoint_dir, warn))
    mailbox = checkpoint_dir / f"reports-{time.time_ns()}.jsonl"
    settings = {
        "inputs": inputs,
        "checkpoints": checkpoint_dir.resolve(),
        "out": out.resolve(),
        "mailbox": mailbox.resolve(),
        "gpus": resources.gpus,
    }
    reports = ReportsOfFirstRank(mailbox, report)
    with reports.meanwhile():
        _fit(settings, inputs.training.workers, resources)
    reports.relay()
    summary = json.loads(_summary_path(mailbox).read_text())
    mailbox.unlink(missing_ok=True)
    _summary_path(mailbox).unlink()
    return TrainingSummary(**summary)


class ReportsOfFirstRank:
    """The reports that the first rank leaves in a file, passed on each once."""

    def __init__(self, mailbox: Path, report: Report) -> None:
        self._mailbox, self._report, self._seen = mailbox, report, 0

    def relay(self) -> None:
        """Pass on what is new."""
        for step, values in list(_reports(self._mailbox))[self._seen :]:
            self._report(step, values)
            self._seen += 1

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Relay from a thread while the body runs."""
        over = threading.Event()

        def repeatedly() -> None:
            while not over.wait(POLL_S):
                self.relay()

        thread = threading.Thread(target=repeatedly, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _fit(settings: dict[str, Any], workers: int, resources: GroupResources) -> None:
    """Run the worker group; its own exception comes out, not Ray's wrapping of it."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    part = resources.of_each(workers, _cpus_of_cluster())
    # The annotations are those of Train V1, which has no limit on controller failures.
    failures: Any = FailureConfig
    trainer = TorchTrainer(
        _worker,
        train_loop_config=settings,
        torch_config=TorchConfig(backend=backend_for(resources.gpus)),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=resources.gpus > 0, resources_per_worker=part
        ),
        run_config=RunConfig(
            name=f"finetune-{time.time_ns()}",
            storage_path=str(settings["checkpoints"] / "ray"),
            failure_config=failures(max_failures=0, controller_failure_limit=0),
        ),
    )
    before = memory_marks()
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise cause_of_loss(error.worker_failures or {0: error}, before) from error
    except ControllerError as error:
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in part.items())
        message = f"no group of {workers} workers with {wanted} each: {error.controller_failure}"
        raise StepFailed(message, "infra") from error


def cause_of_loss(failures: Mapping[int, BaseException], before: MemoryMarks) -> BaseException:
    """What went wrong with a group: an error of a rank, else the loss of one, which is no bug.

    Args:
        failures: by rank, at least one.
        before: counters of memory when the group began.
    """
    cause = root_cause(failures)
    if isinstance(cause, ThreedrsError) or is_out_of_memory(cause):
        return cause
    lost = {rank: error for rank, error in failures.items() if _is_lost(error)}
    if not lost and not all(map(_misses_peer, failures.values())):
        return next(error for error in failures.values() if not _misses_peer(error))
    rank, error = next(iter((lost or failures).items()))
    reason = str(error).strip().partition("\n")[0]
    message = f"rank {rank} of the training was lost: {type(error).__name__}: {reason}"
    killed = memory_killed(before, memory_marks(), None)
    return StepFailed(f"{message}; {killed}" if killed else message, "oom" if killed else "infra")


def _is_lost(error: BaseException) -> bool:
    """Whether Ray, not the rank, says how it ended: its own errors of workers, nodes and health."""
    return type(error).__module__.startswith("ray.") and not hasattr(error, "cause")


def _misses_peer(error: BaseException) -> bool:
    """Whether a rank only tells that another one is gone."""
    gone = "closed by peer", "reset by peer", "remote process has terminated"
    return isinstance(error, RuntimeError) and any(words in str(error) for words in gone)


def _cpus_of_cluster() -> float:
    import ray

    known = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return float(known.get("CPU", math.inf))


def _worker(settings: dict[str, Any]) -> None:
    """One rank of the group."""
    import ray.train
    import ray.train.torch

    torch.set_num_threads(1)
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size())
    mailbox: Path = settings["mailbox"]
    device = device_for(settings["gpus"])

    def post(step: int, values: dict[str, float]) -> None:
        with mailbox.open("a") as lines:
            lines.write(json.dumps([step, values]) + "\n")

    summary = train(
        settings["inputs"],
        report=post,
        checkpoint_dir=settings["checkpoints"],
        out=settings["out"],
        world=world,
        # Ray's answer is a GPU wherever torch sees one, whether or not we were given it.
        device=ray.train.torch.get_device() if device.type == "cuda" else device,
    )
    if world.rank == 0:
        _summary_path(mailbox).write_text(json.dumps(asdict(summary)))


def _summary_path(mailbox: Path) -> Path:
    return mailbox.with_suffix(".summary")


def _reports(mailbox: Path) -> Iterator[tuple[int, dict[str, float]]]:
    if not mailbox.is_file():
        return
    for line in mailbox.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            step, values = json.loads(line)
            yield step, values
