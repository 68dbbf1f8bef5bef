"""Fine-tuning: one joint stage over scenes and their questions, resumable at any checkpoint."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from threedrs_components.objectives.objective import Objective, TeacherFeatures
from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.randomness import seed_of, seeded
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.students.adapters import add_adapters, merge_adapters
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.guidance import Guidance
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.training.checkpoints import (
    Progress,
    check_room,
    checkpoint_bytes,
    newest_checkpoint,
    read_progress,
    seconds_between,
    weight_bytes,
    write_checkpoint,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import Round, TrainingData, check_shares
from threedrs_components.training.meter import Meter
from threedrs_components.training.objective import TOKENS, Totals, TrainingModule
from threedrs_components.training.parameter_groups import parameter_groups, trained_parameters
from threedrs_components.training.stages import schedule
from threedrs_components.training.strategies import (
    Parts,
    Strategy,
    World,
    barrier,
    make_strategy,
    total_over_ranks,
)
from threedrs_components.training.validation import Validation
from threedrs_platform.errors import CheckpointError, ConfigError, DataError, Fault, StepFailed
from threedrs_platform.records import Sample

Report = Callable[[int, dict[str, float]], None]
LOSS = "loss"
"""The curve of the weighted sum."""


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that decides the trained weights."""

    student: StudentSettings
    """Its checkpoint is where training starts."""
    prepared: Path
    samples: Mapping[str, Sequence[Sample]]
    """Training samples by scene; scenes without samples are not visited."""
    training: TrainingConfig
    objectives: tuple[ObjectiveSettings, ...]
    """Those that are on, in the order in which their losses are added up."""
    features: Path | None = None
    """Folder of teacher features; needed where an objective reads them."""
    teacher_depth: Path | None = None
    """Folder of the teacher's depth; needed where an objective reads it."""
    seed: int = 0
    start: str = ""
    """Digest of the weights that training starts from, if it is known; else they are read."""
    validation: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    """Samples of held-out scenes to look at every `validate_every` steps; never trained on."""
    fusion: FusionSettings | None = None
    """How the student reads teacher features, too; None: it does not."""

    @property
    def is_sharded(self) -> bool:
        """Whether weights or optimizer states are split over ranks."""
        return self.training.strategy.startswith("deepspeed")

    def identity(self, world: World) -> str:
        """Digest that a checkpoint must carry to be continued.

        A resume may change how training is done; but sharded checkpoints are bound to their layout.
        """
        content = {
            "student": self.student.identity(),
            "start": self.start or _content_digest(self.student.checkpoint),
            "training": self.training.identity(),
            "objectives": {each.name: each.identity() for each in self.objectives},
            "samples": {
                scene: _digest([asdict(sample) for sample in samples])
                for scene, samples in sorted(self.samples.items())
            },
            "seed": self.seed,
            "layout": self.training.strategy if self.is_sharded else "replicated",
            "world": world.size if self.is_sharded else 1,
        }
        if self.fusion is not None:
            content["fusion"] = self.fusion.identity()
        return _digest(content)


def _digest(content: Any) -> str:
    """Of what JSON can say."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content_digest(checkpoint: str | None) -> str:
    """Of a folder's files and their names: where the folder lies decides no weight."""
    if checkpoint is None:
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(checkpoint).rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(checkpoint)}\n".encode())
        with path.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run did in this process."""

    steps: int
    resumed_from: int
    seconds: float
    cpu_seconds: float
    final: dict[str, float]
    """The last reported values."""
    parameters: Mapping[str, int] = field(default_factory=dict)
    """Weights that learned, by part"""


def train(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    world: World | None = None,
    device: torch.device | str = "cpu",
) -> TrainingSummary:
    """Train, writing the student to `out`; continues from the newest checkpoint, if there is one.

    A resumed run ends in the same weights as one that was never disturbed.

    Args:
        inputs: student, data, losses, loop.
        report: called on the first rank with steps done and mean values since the last call.
        checkpoint_dir: shared by all ranks; must survive for a resume. The newest checkpoint in it
            is trusted: see `checkpoints.forget_damaged`.
        out: folder for the trained student.
        world: this process among others; with more than one the process group must exist.
        device: where to train.

    Raises:
        ConfigError: scenes do not divide among workers, or an objective lacks what it reads.
        CheckpointError: the start or the newest checkpoint does not fit.
        DataError: a sample, scene or feature file is unusable.
        StorageError: the disk has no room for the checkpoints.
        StepFailed: the loss is no longer finite; no checkpoint of that step is written.
    """
    world = world or _world_of_process_group()
    check_shares(inputs.training, world.size)
    _check(inputs)
    started, cpu_started = time.monotonic(), time.process_time()
    student, data, module = _build(inputs, device)
    groups = parameter_groups(module, inputs.training)
    learning = trained_parameters(module)
    size = checkpoint_bytes(module.parameters(), inputs.is_sharded)
    if world.rank == 0:
        check_room(checkpoint_dir, inputs.training, size, weight_bytes(student.parameters()))
    strategy = make_strategy(module, groups, inputs.training, world)
    run = _Run(inputs, module, data, strategy, world, checkpoint_dir, report, size)
    resumed_from = run.resume()
    run.to_end()
    with strategy.weights():
        if world.rank == 0:
            if inputs.student.lora is not None:
                merge_adapters(student)
            # By whatever strategy: how training is executed decides no format.
            save_student(student, out, getattr(torch, inputs.training.dtype))
    barrier(world)
    return TrainingSummary(
        inputs.training.steps,
        resumed_from,
        time.monotonic() - started,
        time.process_time() - cpu_started,
        run.last_report,
        learning,
    )


class _Run:
    """Steps, reports and checkpoints of one process."""

    def __init__(
        self,
        inputs: TrainingInputs,
        module: TrainingModule,
        data: TrainingData,
        strategy: Strategy,
        world: World,
        checkpoint_dir: Path,
        report: Report,
        checkpoint_size: int,
    ) -> None:
        self.training, self.checkpoint_size = inputs.training, checkpoint_size
        self.module, self.data, self.strategy, self.world = module, data, strategy, world
        self.checkpoint_dir, self.report = checkpoint_dir, report
        self.validation = _validation(inputs, module.student)
        self.progress = Progress(0, {}, inputs.identity(world))
        self.last_report: dict[str, float] = {}
        self.meter = Meter(module.student.device)
        self.longest = seconds_between(inputs.training, world.size, checkpoint_size)
        self.kept_at = time.monotonic()

    def resume(self) -> int:
        """Continue from the newest checkpoint, and report its past again.

        Returns its step, 0 without one.
        """
        newest = newest_checkpoint(self.checkpoint_dir)
        if newest is not None:
            self.progress = read_progress(newest, self.progress.identity)
            self.strategy.load(newest)
            if self.world.rank == 0:
                for step, values in self.progress.reports:
                    self.report(step, values)
        return self.progress.step

    def to_end(self) -> None:
        """All steps that are left."""
        rounds = self.data.rounds(self.progress.step, self.world.rank, self.world.size)
        with closing(rounds):
            self._steps(rounds)

    def _steps(self, rounds: Iterator[Round]) -> None:
        while self.progress.step < self.training.steps:
            self._one_step(rounds)
            done, is_last = self.progress.step, self.progress.step == self.training.steps
            looks = self.validation is not None and (
                is_last or done % self.training.validate_every == 0
            )
            if done % self.training.log_every == 0 or is_last or looks:
                self._report(looks)
            if not is_last and self._wants_checkpoint():
                self._checkpoint()

    def _one_step(self, rounds: Iterator[Round]) -> None:
        step, last = self.progress.step, self.training.rounds(self.world.size) - 1
        # Every name, whatever the batches have: ranks sum them up together.
        values = dict.fromkeys((LOSS, *self.module.parts), 0.0)
        for index in range(last + 1):
            with self.meter.waiting():
                each = next(rounds)
            totals = Totals(max(each.plan.num_questions, 1), len(each.plan.scenes))
            # Dropout alone draws from here: by the place of the round's first scene in the step, so
            # the same after a kill, and with other workers where a round is one scene.
            first = self.world.rank + self.world.size * index * each.micro.batch.layout.scenes
            with seeded(seed_of(self.data.seed, step, first)):
                loss, parts = self.strategy.accumulate(each.micro, totals, index == last)
            values[LOSS] += float(loss)
            for name, value in parts.items():
                values[name] += value
        training = self.training
        from_zero = training.warmup_from == "zero"
        rate = schedule(step, training.steps, training.warmup_ratio, from_zero=from_zero)
        norm = self.strategy.update(rate)
        if not (math.isfinite(values[LOSS]) and math.isfinite(norm)):
            raise StepFailed(
                f"training diverged at step {step}: loss {values[LOSS]}, gradient norm {norm}; "
                "lower training.learning_rate or a loss weight, or raise training.warmup_ratio",
                "diverged",
            )
        self._remember(values, norm, rate)
        self.progress.step = step + 1

    def _remember(self, values: Parts, norm: float, rate: float) -> None:
        device = self.module.student.device
        summed = total_over_ranks(values, self.world, device)
        self.meter.count(summed.pop(TOKENS))
        summed |= {"gradient_norm": norm, "schedule": rate, "steps": 1.0}
        window = self.progress.window
        for name, value in summed.items():
            window[name] = window.get(name, 0.0) + value

    def _report(self, looks: bool) -> None:
        """Means over the steps since the last report; shares over their questions.

        Args:
            looks: whether to look at the held-out scenes, too.
        """
        window = self.progress.window
        steps = window.pop("steps")
        shares = {
            each.settings.curve(share): (window.pop(share.right), window.pop(share.asked))
            for each in self.module.objectives
            for share in each.settings.shares
        }
        values = {name: total / steps for name, total in window.items()}
        rate = values.pop("schedule") * self.training.learning_rate
        values = {name: v for name, v in values.items() if v or name in (LOSS, "gradient_norm")}
        values["learning_rate"] = rate
        values |= {name: right / asked for name, (right, asked) in shares.items() if asked}
        if looks and self.validation is not None:
            values |= self.validation.values(self.module)
        values |= self.meter.read()
        self.last_report, self.progress.window = values, {}
        self.progress.reports.append((self.progress.step, values))
        if self.world.rank == 0:
            self.report(self.progress.step, values)

    def _wants_checkpoint(self) -> bool:
        due = self.progress.step % self.training.checkpoint_every == 0
        return due or time.monotonic() - self.kept_at >= self.longest

    def _checkpoint(self) -> None:
        write_checkpoint(
            self.checkpoint_dir,
            self.progress,
            self.strategy.save,
            self.world.rank == 0,
            lambda: barrier(self.world),
            self.checkpoint_size,
        )
        self.kept_at = time.monotonic()


def _world_of_process_group() -> World:
    if distributed.is_available() and distributed.is_initialized():
        return World(distributed.get_rank(), distributed.get_world_size())
    return World()


def _check(inputs: TrainingInputs) -> None:
    """What would otherwise end a training late, or after its student has been loaded."""
    if not inputs.samples:
        raise DataError("no scene to train on: the annotations name none of the split's scenes")
    if inputs.fusion is not None and inputs.features is None:
        message = "needs teacher features; name a teacher, or set none"
        raise ConfigError([Fault(message, path="fusion.mode")])
    for each in inputs.objectives:
        if each.reads_teacher_features and inputs.features is None:
            message = "needs teacher features; name a teacher, or set 0"
            raise ConfigError([Fault(message, path=f"{each.name}.weight")])
        if each.reads_teacher_depth and inputs.teacher_depth is None:
            message = "needs the teacher's depth; take the sensor's where there is none"
            raise ConfigError([Fault(message, path=f"{each.name}.source")])
        if each.visual_layers and inputs.student.blind:
            message = f"a blind student has no visual tokens for {each.name} to supervise"
            raise ConfigError([Fault(message, path="student.blind")])


def _build(
    inputs: TrainingInputs, device: torch.device | str
) -> tuple[Student, TrainingData, TrainingModule]:
    """Student, data and module; what no checkpoint holds is initialised from the seed."""
    training, prepared = inputs.training, PreparedScenes(inputs.prepared, pairs=False)
    # DeepSpeed keeps float32 weights of its own, and what is frozen needs none; everybody else
    # needs them from the start.
    adapted = inputs.student.lora is not None
    sharded = training.strategy.startswith("deepspeed")
    narrow = training.dtype == "bfloat16" and (sharded or adapted)
    teacher = None
    if inputs.features is not None or inputs.teacher_depth is not None:
        scene_ids = sorted(inputs.samples)
        teacher = TeacherFeatures(inputs.features, prepared, scene_ids, inputs.teacher_depth)
    with seeded(inputs.seed):
        dtype = "bfloat16" if narrow else "float32"
        student = build_student(inputs.student, dtype, device).train()
        _fuse(student, inputs, prepared)
        if inputs.student.lora is not None:
            add_adapters(student, inputs.student.lora)
            if not sharded:
                _widen_what_learns(student)
        objectives = [each.build(student, teacher) for each in inputs.objectives]
        module = TrainingModule(student, objectives).to(device)
    return student, _data(inputs, inputs.samples, student, objectives), module


def _fuse(student: Student, inputs: TrainingInputs, prepared: PreparedScenes) -> None:
    """Let the student read the teacher's features, where it is to.

    Raises:
        CheckpointError: it has learned to read other ones, or to read some when it is to read none.
        DataError: features of a scene are missing, or do not fit.
    """
    guidance = _guidance(inputs)
    if guidance is not None and inputs.fusion is not None:
        width, source = guidance.check(prepared, sorted(inputs.samples))
        student.fuse(inputs.fusion, width, source)
    elif student.fusion is not None:
        mode = student.fusion.settings.mode
        raise CheckpointError(
            f"the student to start from has learned with fusion.mode: {mode}; set it, too"
        )


def _guidance(inputs: TrainingInputs) -> Guidance | None:
    if inputs.fusion is None or inputs.features is None:
        return None
    return Guidance(inputs.features, inputs.fusion)


def _widen_what_learns(student: Student) -> None:
    """float32 for weights whose updates would be lost in fewer digits."""
    for parameter in student.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _validation(inputs: TrainingInputs, student: Student) -> Validation | None:
    """Held-out scenes, where training is to look at some."""
    if not _looks(inputs):
        return None
    # No objective marks tokens or brings targets: answers are learned alike in all trainings.
    return Validation(_data(inputs, inputs.validation, student, ()), inputs.training)


def _looks(inputs: TrainingInputs) -> bool:
    return bool(inputs.training.validate_every and inputs.validation)


def _data(
    inputs: TrainingInputs,
    samples: Mapping[str, Sequence[Sample]],
    student: Student,
    objectives: Sequence[Objective],
) -> TrainingData:
    return TrainingData(
        PreparedScenes(inputs.prepared, pairs=any(each.has_target for each in objectives)),
        samples,
        student.tokenizer,
        inputs.training,
        inputs.seed,
        objectives=objectives,
        guidance=_guidance(inputs),
        blind=inputs.student.blind,
        pinned=student.device.type == "cuda",
        memory_share=0.5 if _looks(inputs) else 1.0,
    )
