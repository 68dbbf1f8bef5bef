"""What a plan will cost before it starts: per cell, and in all without what is done already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threedrs_components.benchmarks.published_counts import (
    ANSWER_TOKENS,
    OTHER_ANSWER_TOKENS,
    QUESTION_TOKENS,
)
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.sizes import StudentSize, student_size
from threedrs_components.teachers.costs import (
    DEPTH_CHANNELS,
    extraction_flops,
    feature_bytes,
    teacher_cost,
)
from threedrs_components.training import cost
from threedrs_components.training.config import Strategy
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.past_costs import Sizes
from threedrs_platform.database.spending import Measured, measured_steps
from threedrs_platform.workspace import Workspace
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import GridCell, GridCells
from threedrs_workflows.plan.plan import Plan, PlannedStep
from threedrs_workflows.plan.sample_counts import CellData, SampleCounter

HOUR = 3600.0
HEADER_TOKENS = 14
"""Of the system turn and the head of the user's, before the frames."""
STRATEGIES: tuple[Strategy, ...] = (
    "single",
    "ddp",
    "deepspeed_zero1",
    "deepspeed_zero2",
    "deepspeed_zero3",
)
EPOCH_TOLERANCE = 0.02


@dataclass(frozen=True)
class Assumptions:
    """How fast arithmetic is done, where nothing has been measured."""

    peak_tflops: float = 989.0
    """Of one GPU in bfloat16: an H100."""
    utilisation: float = 0.35
    decoding: float = 0.02
    """Of answers that are written token by token."""

    def gpu_hours(self, flops: float, writing: float = 0.0) -> float:
        """GPU time of some arithmetic; of answers written, apart."""
        seconds = flops / self.utilisation + writing / self.decoding
        return seconds / (self.peak_tflops * 1e12) / HOUR


@dataclass(frozen=True)
class StepCost:
    """One step of a cell."""

    flops: float
    gpu_hours: float
    """0 where it has no GPU."""
    is_measured: bool


@dataclass(frozen=True)
class CellCost:
    """What one cell takes, shared steps included."""

    cell_id: str
    title: str
    data: CellData
    steps: int
    scenes_per_step: int
    questions_per_scene: int
    epochs: float | None
    student: str
    size_source: str
    parameters: int | None
    trainable: int | None
    gpus: float
    strategy: str
    memory: Mapping[str, float]
    """Bytes per GPU by strategy, activations included."""
    activations: float | None
    host_memory: float
    """Bytes per GPU of the host, for what is kept there."""
    tokens: float | None
    """Positions of the language model in training, the prefix counted once."""
    training_flops: float | None
    feature_bytes: int | None
    checkpoint_bytes: float | None
    student_bytes: float | None
    by_step: Mapping[str, StepCost] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    """What is not known, and why."""

    @property
    def gpu_hours(self) -> float:
        """Of all its steps, as if none were done or shared."""
        return sum(step.gpu_hours for step in self.by_step.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks like an accident."""
        if self.epochs is None or abs(self.epochs - max(1, round(self.epochs))) <= EPOCH_TOLERANCE:
            return ()
        samples, taken = self.data.samples or 0, self.scenes_per_step * self.questions_per_scene
        steps = round(max(1, round(self.epochs)) * samples / taken)
        whole = max(1, round(self.epochs))
        return (
            f"{self.epochs:.2f} epochs: {self.steps:,} steps of {taken} of {samples:,} samples; "
            f"training.steps: {steps} makes {whole}",
        )


@dataclass(frozen=True)
class PlanCost:
    """What a plan takes."""

    cells: tuple[CellCost, ...]
    assumptions: Assumptions
    gpu_hours: float
    """Of all steps that have to run, shared ones once."""
    all_gpu_hours: float
    """With those that are done."""
    measured: int
    """Steps whose time is from earlier ones."""
    marginal: Mapping[str, Mapping[str, float]]
    """GPU-hours by setting and value that the plan would take less without that value."""
    expected_seconds: Mapping[str, float]
    """By name of a step, for a budget."""


def plan_cost(
    workspace: Workspace, grid: GridCells, plan: Plan, assumptions: Assumptions
) -> PlanCost:
    """Estimate all cells of a plan; nothing is read but configurations and annotation files."""
    counter, history = SampleCounter(workspace), measured_steps(workspace.database)
    recipes = {key: node.recipe for key, node in plan.graph.nodes.items()} if history else {}
    sizes = workspace.journal.sizes(recipes, [step.key for step in history])
    by_key: dict[str, StepCost] = {}
    cells = []
    for cell in grid.cells:
        links = [plan.links.get(CellKey(cell.cell_id, seed), {}) for seed in grid.seeds]
        first = {role: plan.by_key[key] for role, key in links[0].items()}
        if "predict" not in first:
            continue
        estimate = _Cell(cell, first, counter, history, sizes, assumptions).estimate()
        cells.append(estimate)
        for roles in links:
            by_key |= {key: estimate.by_step[r] for r, key in roles.items() if r in first}
    misses = {step.key for step in plan.misses}
    hours = {key: step.gpu_hours for key, step in by_key.items()}
    return PlanCost(
        tuple(cells),
        assumptions,
        sum(hours[key] for key in hours if key in misses),
        sum(hours.values()),
        sum(by_key[key].is_measured for key in by_key if key in misses),
        _marginal(grid, plan, {key: hours[key] for key in hours if key in misses}),
        _expected(plan, hours),
    )


def _expected(plan: Plan, hours: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, gpu_hours in hours.items():
        step = plan.by_key[key]
        if gpus := step.spec.resources.gpus:
            found[step.name] = max(found.get(step.name, 0.0), gpu_hours * HOUR / gpus)
    return found


def _marginal(
    grid: GridCells, plan: Plan, hours: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Steps that only cells with a value need would go with it."""
    marginal: dict[str, dict[str, float]] = {}
    paths = dict.fromkeys(path for cell in grid.cells for path in cell.axes)
    for path in paths:
        by_value: dict[str, set[str]] = {}
        for cell in grid.cells:
            if path in cell.axes:
                by_value.setdefault(str(cell.axes[path]), set()).add(cell.cell_id)
        if len(by_value) > 1:
            marginal[path] = {
                value: sum(
                    taken
                    for key, taken in hours.items()
                    if {each.cell_id for each in plan.graph.nodes[key].cells} <= cells
                )
                for value, cells in by_value.items()
            }
    return marginal


@dataclass(frozen=True)
class _Cell:
    """Estimates one cell."""

    cell: GridCell
    planned: Mapping[str, PlannedStep]
    counter: SampleCounter
    history: Sequence[Measured]
    sizes: Sizes
    assumptions: Assumptions

    def estimate(self) -> CellCost:
        """All that can be said before it runs."""
        experiment = self.cell.experiment
        training, student = experiment.training, experiment.student_config()
        data = self.counter.data(experiment, self.planned["samples"])
        size = student_size(student)
        visits = training.steps * training.scenes_per_step
        visit = self._visit(size, training.questions_per_scene, _answer_tokens(data))
        epochs = None
        if data.samples and experiment.trains():
            epochs = visits * training.questions_per_scene / data.samples
        return CellCost(
            cell_id=self.cell.cell_id,
            title=self.cell.title,
            data=data,
            steps=training.steps,
            scenes_per_step=training.scenes_per_step,
            questions_per_scene=training.questions_per_scene,
            epochs=epochs,
            student=experiment.student,
            size_source="sizes unknown" if size is None else size.source,
            gpus=self.planned.get("finetune", self.planned["predict"]).spec.resources.gpus,
            strategy=training.strategy,
            tokens=None if visit is None else float(visits * visit.tokens),
            by_step=self._steps(size, data, visit),
            lacks=self._lacks(size, data),
            **self._of_student(size, visit),
            **self._bytes(size, data),
        )

    def _of_student(self, size: StudentSize | None, visit: cost.Visit | None) -> dict[str, Any]:
        experiment = self.cell.experiment
        training, student = experiment.training, experiment.student_config()
        if size is None or visit is None:
            return {
                "parameters": None,
                "trainable": None,
                "memory": {},
                "activations": None,
                "host_memory": 0.0,
                "training_flops": None,
            }
        count = self._learning(size)
        gpus = max(1, training.workers)
        scenes = max(1, training.scenes_per_step // (gpus * training.rounds(gpus)))
        activations = cost.activation_bytes(
            size,
            visit,
            scenes,
            checkpointed=student.gradient_checkpointing,
            vision_learns="vision" not in _frozen(experiment),
        )
        states = {
            strategy: cost.state_bytes(
                count,
                strategy,
                1 if strategy == "single" else gpus,
                bf16=training.dtype == "bfloat16",
                optimizer=training.optimizer,
                offload=training.offload == "optimizer",
            )
            for strategy in STRATEGIES
            if experiment.trains()
        }
        return {
            "parameters": count.parameters,
            "trainable": count.trainable,
            "memory": {
                strategy: state.on_gpu + activations + cost.CONTEXT_BYTES
                for strategy, state in states.items()
            },
            "activations": activations,
            "host_memory": states[training.strategy].host if states else 0.0,
            "training_flops": self._training_flops(size, visit),
        }

    def _learning(self, size: StudentSize) -> cost.Learning:
        experiment = self.cell.experiment
        student = experiment.student_config()
        heads = size.grounding_head + self._alignment_heads(size) + self._arms(size)
        adapters = None
        if (lora := student.lora) is not None:
            adapters = cost.low_rank_parameters(size.text, lora.rank, lora.targets)
        return cost.learning(size, _frozen(experiment), heads, adapters)

    def _alignment_heads(self, size: StudentSize) -> int:
        experiment, width = self.cell.experiment, self._teacher_width()
        alignment = experiment.alignment
        if alignment not in experiment.active_objectives() or width is None:
            return 0
        return len(alignment.layers) * size.alignment_head(width, alignment.projector_width)

    def _arms(self, size: StudentSize) -> int:
        """Weights of fusion and of a reconstruction's decoder."""
        experiment, teacher_width = self.cell.experiment, self._teacher_width()
        width, reconstruction = size.text.width, experiment.reconstruction
        weights = 0
        if experiment.fuses() and teacher_width is not None:
            weights += experiment.fusion.parameters(width, teacher_width)
        if reconstruction in experiment.active_objectives():
            cells = experiment.student_config().grid ** 2
            weights += reconstruction.parameters(width, cells)
        return weights

    def _teacher_width(self) -> int | None:
        teacher = self.cell.experiment.teacher_config()
        if teacher is None or teacher.checkpoint is None:
            return None  # a teacher that the grid trains is of no published width
        known = teacher_cost(teacher)
        return None if known is None else known.width

    def _training_flops(self, size: StudentSize, visit: cost.Visit) -> float:
        training = self.cell.experiment.training
        once = cost.training_flops(size, visit, _frozen(self.cell.experiment))
        return training.steps * training.scenes_per_step * once

    def _visit(
        self, size: StudentSize | None, questions: int, answer_tokens: int
    ) -> cost.Visit | None:
        if size is None:
            return None
        experiment = self.cell.experiment
        student, frames = experiment.student_config(), experiment.prepare.num_frames
        if student.blind:
            return cost.Visit(0, 0, HEADER_TOKENS, questions, QUESTION_TOKENS, answer_tokens)
        patches = (student.image_size // size.vision.patch) ** 2
        prefix = HEADER_TOKENS + _visual_positions(student, frames)
        prefix += frames * size.frame_marks
        return cost.Visit(frames, patches, prefix, questions, QUESTION_TOKENS, answer_tokens)

    def _bytes(self, size: StudentSize | None, data: CellData) -> dict[str, Any]:
        experiment, width = self.cell.experiment, self._teacher_width()
        features = None
        if experiment.has_teacher() and width is not None and data.scenes is not None:
            prepare = experiment.prepare
            read = width * experiment.reads_teacher_features()
            read += DEPTH_CHANNELS * experiment.reads_teacher_depth()
            features = data.scenes * feature_bytes(read, prepare.num_frames, prepare.grid)
        if size is None:
            return {"feature_bytes": features, "checkpoint_bytes": None, "student_bytes": None}
        count, training = self._learning(size), experiment.training
        bf16 = training.dtype == "bfloat16"
        return {
            "feature_bytes": features,
            "checkpoint_bytes": cost.training_checkpoint_bytes(
                count, training.strategy, bf16=bf16, optimizer=training.optimizer
            ),
            "student_bytes": float((2 if bf16 else 4) * count.parameters),
        }

    def _steps(
        self, size: StudentSize | None, data: CellData, visit: cost.Visit | None
    ) -> dict[str, StepCost]:
        work: dict[str, tuple[float, float]] = {}
        if size is not None and visit is not None:
            work["finetune"] = (self._training_flops(size, visit), 0.0)
            work["predict"] = self._answers(size, data)
            looks = self._visit(size, 0, 0)
            if looks is not None and data.scenes is not None:
                work["probe"] = (data.scenes * cost.answering_flops(size, looks)[0], 0.0)
        teacher = self.cell.experiment.teacher_config()
        is_released = teacher is not None and teacher.checkpoint is not None
        known = teacher_cost(teacher) if teacher is not None and is_released else None
        if known is not None and data.scenes is not None:
            frames = self.cell.experiment.prepare.num_frames
            once = (data.scenes * extraction_flops(known, frames), 0.0)
            work |= {"extract": once, "extract_depth": once}
        return {
            role: self._step(step, *work.get(role, (0.0, 0.0)))
            for role, step in self.planned.items()
        }

    def _answers(self, size: StudentSize, data: CellData) -> tuple[float, float]:
        reading = writing = 0.0
        for each in data.evaluated:
            if each.samples is None or not each.scenes:
                continue
            questions = max(1, round(each.samples / each.scenes))
            tokens = ANSWER_TOKENS.get(each.name, OTHER_ANSWER_TOKENS)
            visit = self._visit(size, questions, tokens)
            assert visit is not None
            read, write = cost.answering_flops(size, visit)
            reading, writing = reading + each.scenes * read, writing + each.scenes * write
        return reading, writing

    def _step(self, step: PlannedStep, flops: float, writing: float) -> StepCost:
        gpus = step.spec.resources.gpus
        if not gpus:
            return StepCost(flops + writing, 0.0, False)
        seconds = self._measured_seconds(step)
        if seconds is not None:
            return StepCost(flops + writing, seconds * gpus / HOUR, True)
        return StepCost(flops + writing, self.assumptions.gpu_hours(flops, writing), False)

    def _measured_seconds(self, step: PlannedStep) -> float | None:
        """What earlier steps on as many GPUs took: a training per scene, others at equal sizes."""
        spec, training = step.spec, self.cell.experiment.training
        like = [each for each in self.history if each.kind == spec.kind]
        like = [each for each in like if each.gpus == spec.resources.gpus]
        if spec.kind == "finetune":
            rates = [
                each.per_scene
                for each in like
                if each.per_scene is not None and _trains_alike(each.params, spec.params)
            ]
            visits = training.steps * training.scenes_per_step
            return _mean(rates, scale=visits)
        size = self.sizes.of(step.key)
        return _mean([each.seconds for each in like if self.sizes.of(each.key) == size])

    def _lacks(self, size: StudentSize | None, data: CellData) -> tuple[str, ...]:
        lacks = []
        if size is None:
            lacks.append(f"{self.cell.title}: sizes of its student are not known")
        unknown = [each.name for each in (*data.trained, *data.evaluated) if each.samples is None]
        if unknown:
            names = ", ".join(dict.fromkeys(unknown))
            lacks.append(f"{self.cell.title}: how many samples {names} has")
        teacher = self.cell.experiment.teacher_config()
        if teacher is not None and (teacher_cost(teacher) is None or teacher.checkpoint is None):
            lacks.append(f"{self.cell.title}: what features of {self.cell.experiment.teacher} cost")
        return tuple(lacks)


def _frozen(experiment: Experiment) -> tuple[str, ...]:
    """Parts that do not learn: named, or at a rate of 0."""
    training = experiment.training
    student = experiment.student_config()
    frozen = [*student.frozen, *(["language"] if student.lora is not None else [])]
    if not training.vision_learning_rate_factor:
        frozen.append("vision")
    if training.projector_learning_rate == 0:
        frozen.append("projector")
    return tuple(frozen)


def _visual_positions(student: StudentSettings, frames: int) -> int:
    """Positions that frames take in the language model."""
    side = student.grid
    if student.newline == "row":
        return frames * side * (side + 1)
    if student.newline == "end":
        return frames * side * side + 1
    return frames * side * side


def _answer_tokens(data: CellData) -> int:
    """Mean over the training samples."""
    weighted = [
        (each.samples or 0, ANSWER_TOKENS.get(each.name, OTHER_ANSWER_TOKENS))
        for each in data.trained
    ]
    total = sum(samples for samples, _ in weighted)
    if not total:
        return OTHER_ANSWER_TOKENS
    return round(sum(samples * tokens for samples, tokens in weighted) / total)


def _trains_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two trainings take as long per scene: one student, as many questions, one dtype."""
    fields = ("questions_per_scene", "dtype", "batches")
    same = all(one["training"].get(name) == other["training"].get(name) for name in fields)
    return same and one.get("student") == other.get("student")


def _mean(values: Sequence[float], scale: float = 1.0) -> float | None:
    return scale * sum(values) / len(values) if values else None
