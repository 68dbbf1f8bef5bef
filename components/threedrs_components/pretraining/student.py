"""What a micro student knows before 3D: a seeing tower, and a language model over single frames.

The honest analogue of starting from a strong 2D model with a weak sense of space: no frame has a
position, no question needs a second view.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from threedrs_components.objectives.grounding import GroundingConfig
from threedrs_components.objectives.text import TextConfig
from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.pretraining.student_frames import (
    FrameTask,
    MicroFrames,
    frame_task,
    micro_texts,
    read_frames,
)
from threedrs_components.randomness import seeded
from threedrs_components.scenes.micro.furniture import CATEGORIES, COLOR_NAMES
from threedrs_components.students.batches import collate, object_candidates, training_question
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.prediction import predict_scene
from threedrs_components.training.stages import Stage, run_stage
from threedrs_platform.records import Metric, Prediction
from threedrs_platform.sealed import Warn

CELL_PIXELS = 2
"""The tower is supervised at cells of 2 x 2 pixels."""
ROOM_WEIGHT = 0.3
"""Weight of cells that show no object in the category loss."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class CellLabels:
    """What each cell of each patch shows. B frames, N patches, S cells per patch."""

    categories: Tensor
    """[B, N, S] int64, 0 = room"""
    colors: Tensor
    """[B, N, S] int64, 0 = room"""
    rgb: Tensor
    """[B, N, S, 3] float32 in [-1, 1]"""


class Tower(nn.Module):
    """The student's vision tower with a linear read-out per patch."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.patch_states = student.patch_states
        self.tower = nn.ParameterList(student.parameters_of("vision"))
        self.patch = student.patch_size
        self.sizes = (1 + len(CATEGORIES), 1 + len(COLOR_NAMES), 3)
        cells = (self.patch // CELL_PIXELS) ** 2
        self.read_out = nn.Linear(student.vision_width, cells * sum(self.sizes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Category, colour and RGB of every cell [B, N, S, ...] of images [B, H, W, 3] uint8."""
        states = self.patch_states(images)
        cells = self.read_out(states).view(*states.shape[:2], -1, sum(self.sizes))
        categories, colors, rgb = cells.split(self.sizes, dim=-1)
        return categories, colors, rgb

    def labels(self, frames: MicroFrames, rows: Tensor) -> CellLabels:
        """Labels of chosen frames; a cell shows what its first pixel shows."""
        pixels = frames.images[rows].float() / 127.5 - 1.0
        rgb = functional.avg_pool2d(pixels.permute(0, 3, 1, 2), CELL_PIXELS)
        step = slice(None, None, CELL_PIXELS)
        return CellLabels(
            self._by_patch(frames.categories[rows][:, step, step].long()),
            self._by_patch(frames.colors[rows][:, step, step].long()),
            torch.stack([self._by_patch(channel) for channel in rgb.unbind(1)], dim=-1),
        )

    def _by_patch(self, cells: Tensor) -> Tensor:
        """[B, h, w] cells to [B, patches, cells per patch], both in row order."""
        side = self.patch // CELL_PIXELS
        batch, height, width = cells.shape
        blocks = cells.reshape(batch, height // side, side, width // side, side)
        return blocks.transpose(2, 3).reshape(batch, -1, side * side)


def pretrain_student(
    config: MicroPretrainingConfig,
    student_config: StudentSettings,
    world: Path,
    out: Path,
    scratch: Path,
    progress: Progress,
    warn: Warn = warnings.warn,
) -> list[Metric]:
    """Train both stages, write the student to `out`, and say how good it is on held-out frames.

    Args:
        config: how long, at which rate and on how many frames each stage trains.
        student_config: kind and widths of the student.
        world: a micro world with instance maps.
        out: folder for the student.
        scratch: folder where a half-done stage survives a killed process.
        progress: told steps done, all steps, and a note.
        warn: told of a state in `scratch` that is damaged.
    """
    frames, held_out = read_frames(world)
    # What fine-tuning will freeze has to be learnt here.
    student_config = student_config.model_copy(update={"frozen": ()})
    with seeded(config.seed):
        student = micro_student(student_config, micro_texts(), config.seed)
        tower = Tower(student).train()
    metrics = _train_tower(config, tower, frames, held_out, scratch, progress, warn)
    metrics += _train_language(config, student, frames, held_out, scratch, progress, warn)
    save_student(student.eval(), out)
    return metrics


def _train_tower(
    config: MicroPretrainingConfig,
    module: Tower,
    frames: MicroFrames,
    held_out: MicroFrames,
    scratch: Path,
    progress: Progress,
    warn: Warn,
) -> list[Metric]:
    def loss_of(step: int) -> Tensor:
        rows = torch.tensor(_choose(config.seed, "tower", step, len(frames), config.tower_images))
        return tower_loss(module(frames.images[rows]), module.labels(frames, rows))

    stage = Stage(
        "tower",
        config.tower_steps,
        config.tower_learning_rate,
        config.checkpoint_every,
        scratch,
    )
    run_stage(stage, module, loss_of, progress, warn)
    return tower_quality(module.eval(), held_out, config.evaluation_frames)


def _train_language(
    config: MicroPretrainingConfig,
    student: Student,
    frames: MicroFrames,
    held_out: MicroFrames,
    scratch: Path,
    progress: Progress,
    warn: Warn,
) -> list[Metric]:
    _freeze_tower(student, True)
    objectives = [each.build(student) for each in (TextConfig(), GroundingConfig())]
    module = TrainingModule(student.train(), objectives)

    def loss_of(step: int) -> Tensor:
        rows = _choose(config.seed, "language", step, len(frames), config.language_frames)
        tasks = [frame_task(frames, row, student.grid) for row in rows]
        return language_loss(module, [task for task in tasks if task.samples])

    stage = Stage(
        "language",
        config.language_steps,
        config.language_learning_rate,
        config.checkpoint_every,
        scratch,
    )
    run_stage(stage, module, loss_of, progress, warn)
    _freeze_tower(student, False)
    return language_quality(student.eval(), held_out, config.evaluation_frames)


def _freeze_tower(student: Student, frozen: bool) -> None:
    for parameter in student.parameters_of("vision"):
        parameter.requires_grad_(not frozen)


def tower_loss(outputs: tuple[Tensor, Tensor, Tensor], labels: CellLabels) -> Tensor:
    """Category everywhere, colour on objects, RGB everywhere."""
    categories, colors, rgb = outputs
    shown = labels.categories > 0
    each = functional.cross_entropy(
        categories.flatten(0, 2), labels.categories.flatten(), reduction="none"
    )
    weights = torch.where(shown, 1.0, ROOM_WEIGHT).flatten()
    category = (each * weights).sum() / weights.sum()
    color = functional.cross_entropy(colors[shown], labels.colors[shown], reduction="sum")
    return category + color / shown.sum().clamp(min=1) + functional.mse_loss(rgb, labels.rgb)


def language_loss(module: TrainingModule, tasks: Sequence[FrameTask]) -> Tensor:
    """Mean loss over all questions about the frames."""
    tokenizer = module.student.tokenizer
    scenes = [task.scene for task in tasks]
    questions = [
        [training_question(sample, task.scene, tokenizer) for sample in task.samples]
        for task in tasks
    ]
    candidates = [object_candidates(scene) for scene in scenes]
    batch = collate(scenes, questions, candidates, tokenizer, module.student.config.blind)
    loss: Tensor = module(MicroBatch(batch), Totals(max(batch.num_questions, 1), len(scenes)))[0]
    return loss


@torch.no_grad()
def tower_quality(module: Tower, frames: MicroFrames, most: int) -> list[Metric]:
    """Share of object cells whose category and colour are read correctly."""
    rows = torch.arange(len(frames))[:most]
    labels = module.labels(frames, rows)
    categories, colors, _ = module(frames.images[rows])
    shown = labels.categories > 0
    found = {
        "category": (categories[..., 1:].argmax(-1) + 1, labels.categories),
        "color": (colors[..., 1:].argmax(-1) + 1, labels.colors),
    }
    metrics = []
    for name, (predicted, wanted) in found.items():
        share = (predicted == wanted)[shown].float().mean()
        majority = torch.bincount(wanted[shown]).max() / shown.sum()
        metrics.append(
            Metric(
                f"tower/{name}",
                100 * float(share),
                n=int(shown.sum()),
                chance=100 / (len(CATEGORIES) if name == "category" else len(COLOR_NAMES)),
                majority=100 * float(majority),
            )
        )
    return metrics


def language_quality(student: Student, frames: MicroFrames, most: int) -> list[Metric]:
    """Grounding, captions and colours on single frames, exact matches."""
    correct: dict[str, list[bool]] = defaultdict(list)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    chances: list[float] = []
    for row in range(min(most, len(frames))):
        task = frame_task(frames, row, student.grid)
        predictions = predict_scene(student, task.scene, task.samples, max_new_tokens=8)
        for sample, prediction in zip(task.samples, predictions, strict=True):
            if sample.kind == "ground":
                correct["ground"].append(_best(prediction) == sample.target_ids[0])
                chances.append(1 / len(prediction.boxes))
            else:
                correct[sample.benchmark].append(prediction.text == sample.answers[0])
                answers[sample.benchmark][sample.answers[0]] += 1
    return [_language_metric(name, hits, answers[name], chances) for name, hits in correct.items()]


def _language_metric(
    name: str, hits: Sequence[bool], answers: Counter[str], chances: Sequence[float]
) -> Metric:
    share = 100 * sum(hits) / len(hits)
    if name == "ground":
        return Metric("language/ground", share, len(hits), chance=100 * sum(chances) / len(chances))
    top = answers.most_common(1)[0][1]
    return Metric(
        f"language/{name}",
        share,
        len(hits),
        chance=100 / len(answers),
        majority=100 * top / len(hits),
    )


def _best(prediction: Prediction) -> int:
    return max(range(len(prediction.boxes)), key=lambda row: prediction.scores[row])


def _choose(seed: int, stage: str, step: int, available: int, wanted: int) -> list[int]:
    # Of the step alone, so that a resumed stage draws what an undisturbed one would have drawn.
    chance = random.Random(f"{seed}/{stage}/{step}")
    return chance.sample(range(available), min(wanted, available))
