"""Questions per second with one visual prefix per scene against one prefix per question.

Run `python tests/bench/shared_prefix.py [--json] [--repeats 5]`. One process, one thread, both ways
in turn, CPU time, the median of the repeats; losses and gradients are compared on the way. Nothing
here is asserted on time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.batches import collate, object_candidates, training_question
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.settings import MicroWidths
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import (
    WORDS,
    random_samples,
    random_scene,
    task_objectives,
)
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.records import Sample

QUESTIONS = (1, 4, 16)
MAX_NEW_TOKENS = 6


@dataclass(frozen=True)
class Size:
    """How much one scene holds."""

    name: str
    frames: int
    widths: MicroWidths


@dataclass(frozen=True)
class Row:
    """Shared against separate, for one number of questions."""

    size: str
    visual_tokens: int
    questions: int
    train_shared_per_s: float
    train_separate_per_s: float
    train_ratio: float
    predict_ratio: float
    loss_difference: float
    gradient_difference: float
    """Largest absolute difference, over the largest gradient."""


SIZES = (
    Size("micro: 8 frames of 4x4 tokens", 8, MicroWidths()),
    Size("real grid: 8 frames of 14x14 tokens", 8, MicroWidths(image_size=112, patch_size=4)),
)


def measure(size: Size, questions: int, repeats: int) -> Row:
    """Train and predict both ways on one scene."""
    config = LlavaVideoConfig(micro=size.widths)
    student = micro_student(config, ["describe where is the a in .", *WORDS], 0)
    scene = random_scene(
        "scene", 0, num_frames=size.frames, grid=student.grid, image_size=size.widths.image_size
    )
    samples = random_samples(scene, questions, 0)
    module = TrainingModule(student, task_objectives(student))
    alone = [[sample] for sample in samples]
    shared, separate = [batch_of(scene, samples, student)], []
    separate = [batch_of(scene, one, student) for one in alone]
    losses = {name: step(module, b) for name, b in (("a", shared), ("b", separate))}
    loss, gradient = differences(losses["a"], losses["b"])
    train = in_turn(lambda: step(module, shared), lambda: step(module, separate), repeats)
    student.eval()
    predict = in_turn(
        lambda: predict_scene(student, scene, samples, MAX_NEW_TOKENS),
        lambda: [predict_scene(student, scene, one, MAX_NEW_TOKENS) for one in alone],
        repeats,
    )
    return Row(
        size.name,
        size.frames * student.grid**2,
        questions,
        questions / train[0],
        questions / train[1],
        train[1] / train[0],
        predict[1] / predict[0],
        loss,
        gradient,
    )


def batch_of(scene: PreparedScene, samples: Sequence[Sample], student: Student) -> MicroBatch:
    """The scene with these questions."""
    questions = [training_question(sample, scene, student.tokenizer) for sample in samples]
    batch = collate([scene], [questions], [object_candidates(scene)], student.tokenizer)
    return MicroBatch(batch)


def step(module: TrainingModule, batches: Sequence[MicroBatch]) -> tuple[float, list[Tensor]]:
    """Loss and gradients of the sum over all questions of all batches."""
    module.zero_grad(set_to_none=True)
    total = 0.0
    for batch in batches:
        loss, _ = module(batch, Totals(questions=1, scenes=1))
        loss.backward()
        total += float(loss.detach())
    return total, [p.grad.clone() for p in module.parameters() if p.grad is not None]


def differences(
    one: tuple[float, list[Tensor]], other: tuple[float, list[Tensor]]
) -> tuple[float, float]:
    """Relative difference of losses and of gradients."""
    largest = max(float(gradient.abs().max()) for gradient in one[1])
    apart = max(float((a - b).abs().max()) for a, b in zip(one[1], other[1], strict=True))
    return abs(one[0] - other[0]) / abs(one[0]), apart / largest


def in_turn(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median CPU seconds of both, run alternately after a warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, kept in zip((one, other), seconds, strict=True):
            started = time.process_time()
            function()
            if repeat:
                kept.append(time.process_time() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(size, questions, options.repeats) for size in SIZES for questions in QUESTIONS]
    if options.json:
        print(json.dumps({"schema": "bench.shared_prefix/1", "rows": [asdict(r) for r in rows]}))
        return
    print("questions/s (CPU), shared prefix against separate samples")
    for row in rows:
        print(
            f"{row.size:36s} k={row.questions:<3d} train {row.train_separate_per_s:7.1f} -> "
            f"{row.train_shared_per_s:7.1f} ({row.train_ratio:4.1f}x)  predict "
            f"{row.predict_ratio:4.1f}x  loss {row.loss_difference:.0e} "
            f"gradient {row.gradient_difference:.0e}"
        )


if __name__ == "__main__":
    main()
