"""Training on Ray Train: local mode for one worker, a worker group for several."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import ThreedrsError

POLL_S = 0.5
START_TIMEOUT_S = "300"
"""Workers import torch and transformers before they enter; Ray's default of 60 s is too short."""


def ray_is_on() -> bool:
    """Whether this process belongs to a Ray cluster."""
    try:
        import ray
    except ImportError:
        return False
    return bool(ray.is_initialized())


def train_on_ray(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    device: torch.device | str,
) -> TrainingSummary:
    """Train with Ray's TorchTrainer; checkpoints are ours, in `checkpoint_dir`.

    One worker runs in this process (no start-up to wait for). Several run in a worker group and
    leave their reports in a file, which this process reads while it waits; `checkpoint_dir` and
    `out` must then be folders that all workers reach.
    """
    if inputs.training.workers == 1:
        found: list[TrainingSummary] = []

        def local(_: dict[str, Any]) -> None:
            found.append(
                train(
                    inputs,
                    report=report,
                    checkpoint_dir=checkpoint_dir,
                    out=out,
                    world=World(),
                    device=device,
                )
            )

        _fit(local, {}, inputs, checkpoint_dir, workers=0)
        return found[0]
    return _train_in_group(inputs, report, checkpoint_dir, out)


def _train_in_group(
    inputs: TrainingInputs, report: Report, checkpoint_dir: Path, out: Path
) -> TrainingSummary:
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    mailbox = checkpoint_dir / f"reports-{time.time_ns()}.jsonl"
    settings = {"inputs": inputs, "checkpoints": checkpoint_dir, "out": out, "mailbox": mailbox}
    reports = ReportsOfFirstRank(mailbox, report)
    # The waiting thread must be this one: only then does Ray lend its CPUs to the workers.
    with reports.meanwhile():
        _fit(_worker, settings, inputs, checkpoint_dir, inputs.training.workers)
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


def _fit(
    function: Any, settings: dict[str, Any], inputs: TrainingInputs, folder: Path, workers: int
) -> None:
    """Run a training function; its own exception comes out, not Ray's wrapping of it."""
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", START_TIMEOUT_S)
    from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    gpu = torch.cuda.is_available()
    # The annotations are those of Train V1, which has no limit on controller failures.
    failures: Any = FailureConfig
    trainer = TorchTrainer(
        function,
        train_loop_config=settings,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu and workers > 0, resources_per_worker={"CPU": 1}
        ),
        run_config=RunConfig(
            name=f"finetune-{time.time_ns()}",
            storage_path=str(folder.resolve() / "ray"),
            failure_config=failures(max_failures=0, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise _root(error) from error


def _root(error: Any) -> BaseException:
    """What went wrong in the first place: when one rank fails, the others lose their peer."""
    failures: list[BaseException] = [error.worker_failures[rank] for rank in error.worker_failures]
    ours = [failure for failure in failures if isinstance(failure, ThreedrsError)]
    return (ours or failures or [error])[0]


def _worker(settings: dict[str, Any]) -> None:
    """One rank of the group."""
    import ray.train
    import ray.train.torch

    torch.set_num_threads(1)
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size())
    mailbox: Path = settings["mailbox"]

    def post(step: int, values: dict[str, float]) -> None:
        with mailbox.open("a") as lines:
            lines.write(json.dumps([step, values]) + "\n")

    summary = train(
        settings["inputs"],
        report=post,
        checkpoint_dir=settings["checkpoints"],
        out=settings["out"],
        world=world,
        device=ray.train.torch.get_device(),
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
