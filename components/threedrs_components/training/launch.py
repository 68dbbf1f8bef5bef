"""Training without Ray: in this process, or in processes of its own, here and on other machines."""

from __future__ import annotations

import contextlib
import queue
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from threedrs_components.devices import device_for
from threedrs_components.training.checkpoints import forget_damaged
from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.nodes import current_group
from threedrs_components.training.ranks import Content, RankTask, Tell, places, running
from threedrs_components.training.strategies import World
from threedrs_platform.errors import ConfigError, Fault, ThreedrsError
from threedrs_platform.memory import is_out_of_memory
from threedrs_platform.sealed import Warn

GRACE_S = 5.0
"""After one rank has failed: how long to hear from the others, whose failure may be the first."""
PULSE_S = 2.0
"""Longest silence between two looks at whether the training is wanted any more."""


def train_here(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    gpus: float = 0,
    warn: Warn = warnings.warn,
    begins: Callable[[Path | None], None] = lambda checkpoint: None,
    pulse: Callable[[], None] = lambda: None,
    log_file: Path | None = None,
) -> TrainingSummary:
    """Train with `training.workers` processes.

    One worker trains in this process, several in processes of their own; those are spread over the
    machines of the group that this process leads, if it leads one. DeepSpeed has processes of its
    own, too: it leaves a process group and an accelerator behind that the next training could not
    use.

    Args:
        inputs: student, data, losses, loop.
        report: called here, with what the first rank reports.
        checkpoint_dir: shared by all ranks.
        out: folder for the trained student.
        gpus: how many were given; one for each worker, or none to train on the CPU.
        warn: told of a checkpoint that is damaged; training falls back to the one before.
        begins: told of the checkpoint that training goes on from, None where it begins anew.
        pulse: called now and then while ranks work; what it raises ends them.
        log_file: of the attempt; each of several ranks prints into a file beside it.

    Raises:
        ConfigError: GPUs were given, but not one for each worker; or workers that cannot be spread
            evenly over the group.
        StepFailed: a rank died without a word, or a machine left.
    """
    begins(forget_damaged(checkpoint_dir, warn))
    size = inputs.training.workers
    if size == 1 and not inputs.training.strategy.startswith("deepspeed"):
        return train(
            inputs,
            report=report,
            checkpoint_dir=checkpoint_dir,
            out=out,
            world=World(),
            device=device_for(gpus),
        )
    _check_gpus(gpus, size)
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    inbox: queue.SimpleQueue[tuple[int, Content]] = queue.SimpleQueue()
    task = RankTask(
        inputs,
        size,
        (checkpoint_dir / f"store-{uuid.uuid4().hex}").resolve(),
        checkpoint_dir.resolve(),
        out.resolve(),
        gpus,
        log_file if size > 1 else None,
    )
    with _at_work(task, lambda rank, content: inbox.put((rank, content))):
        return _listen(size, inbox, report, pulse)


@contextlib.contextmanager
def _at_work(task: RankTask, tell: Tell) -> Iterator[None]:
    """All ranks at work while the body runs, here or on the machines of a group."""
    group = current_group()
    if group is not None and task.size > 1:
        with group.training(task, tell):
            yield
        return
    try:
        with running(task, places(0, task.size), tell):
            yield
    finally:
        if isinstance(task.meeting, Path):
            task.meeting.unlink(missing_ok=True)


def root_cause(failures: Mapping[int, BaseException]) -> BaseException:
    """What went wrong in the first place: when one rank fails, the others lose their peer.

    Args:
        failures: by rank, at least one.
    """
    hungry = [rank for rank in failures if is_out_of_memory(failures[rank])]
    ours = [rank for rank in failures if isinstance(failures[rank], ThreedrsError)]
    rank = (hungry or ours or list(failures))[0]
    failures[rank].add_note(f"in rank {rank} of the training")
    return failures[rank]


def _check_gpus(gpus: float, size: int) -> None:
    if gpus and gpus != size and (size > 1 or gpus > 1):
        message = f"{size} workers train on {size} GPUs, one for each, or on none; {gpus:g} given"
        raise ConfigError([Fault(message, path="training.workers")])


def _listen(
    size: int,
    inbox: queue.SimpleQueue[tuple[int, Content]],
    report: Report,
    pulse: Callable[[], None],
) -> TrainingSummary:
    """Pass reports on until every rank has ended; the first rank's summary.

    Raises:
        BaseException: what a rank raised; the others are not waited for.
    """
    summaries: dict[int, TrainingSummary] = {}
    failures: dict[int, BaseException] = {}
    last = float("inf")
    while len(summaries) + len(failures) < size and time.monotonic() < last:
        try:
            rank, content = inbox.get(timeout=max(0.0, min(PULSE_S, last - time.monotonic())))
        except queue.Empty:
            pulse()
            continue
        if isinstance(content, tuple):
            report(*content)
        elif isinstance(content, TrainingSummary):
            summaries[rank] = content
        else:
            failures.setdefault(rank, content)
            last = min(last, time.monotonic() + GRACE_S)
    if failures:
        raise root_cause(failures)
    return summaries[0]
