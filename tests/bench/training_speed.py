"""Samples per second of the training loop: 1, 4 and 16 questions behind a prefix, text loss only.

Run `python tests/bench/training_speed.py [--steps 12] [--json]`. The whole loop runs, reading
included, with and without alignment. Utilisation is of what a large matrix product reaches on the
same device: once counting a shared prefix once, once as if every question had its own. Nothing here
is asserted on time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.objectives.text import TextConfig
from threedrs_components.scenes.prepared import PreparedScenes, write_prepared
from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.settings import MicroWidths
from threedrs_components.testing.real_size import language_flops, separately, vision_flops
from threedrs_components.testing.synthetic import (
    WORDS,
    random_samples,
    random_scene,
    write_random_features,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import TrainingData
from threedrs_components.training.loop import TrainingInputs, train

QUESTIONS = (1, 4, 16)
SCENES, SCENES_PER_STEP, FRAMES, TEACHER_WIDTH = 8, 2, 8, 64
BACKWARDS = 3


@dataclass(frozen=True)
class Row:
    """One setting."""

    questions: int
    alignment: bool
    samples_per_s: float
    utilisation: float
    utilisation_unshared: float
    data_wait: float
    """Share of the time that training waits for its data"""


def inputs_of(folder: Path, steps: int) -> TrainingInputs:
    """Scenes, features and a student on disk."""
    widths = MicroWidths()
    config = LlavaVideoConfig(micro=widths)
    student = micro_student(config, ["describe where is the a in .", *WORDS], 0)
    save_student(student, folder / "student")
    samples = {}
    for number in range(SCENES):
        scene = random_scene(
            f"scene{number}", number, num_frames=FRAMES, grid=student.grid,
            image_size=widths.image_size,
        )  # fmt: skip
        write_prepared(scene, folder / "prepared")
        write_random_features(scene, folder / "features", TEACHER_WIDTH, number)
        asked = random_samples(scene, 48, number)
        samples[scene.scene_id] = [each for each in asked if each.kind == "text"]
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(folder / "student"), micro=widths),
        prepared=folder / "prepared",
        samples=samples,
        training=TrainingConfig(steps=steps, scenes_per_step=SCENES_PER_STEP, log_every=2),
        objectives=(TextConfig(),),
        features=folder / "features",
    )


def measure(
    inputs: TrainingInputs, folder: Path, questions: int, alignment: bool, peak: float
) -> Row:
    """Train and read the loop's own meter; the first report is the warm-up."""
    objectives: tuple[ObjectiveSettings, ...] = (TextConfig(),)
    if alignment:
        objectives = (*objectives, AlignmentConfig(standardise=True))
    training = inputs.training.model_copy(update={"questions_per_scene": questions})
    chosen = replace(inputs, training=training, objectives=objectives)
    reports: list[tuple[float, int, float]] = []

    def report(step: int, values: dict[str, float]) -> None:
        reports.append((time.monotonic(), step, values["speed/data_wait"]))

    train(chosen, report=report, checkpoint_dir=folder / "none", out=folder / "out")
    seconds = reports[-1][0] - reports[0][0]
    steps = reports[-1][1] - reports[0][1]
    shared, unshared = (work * steps / seconds / peak for work in flops_of(chosen))
    return Row(
        questions,
        alignment,
        steps * SCENES_PER_STEP * questions / seconds,
        shared,
        unshared,
        sum(wait for _, _, wait in reports[1:]) / (len(reports) - 1),
    )


def flops_of(inputs: TrainingInputs) -> tuple[float, float]:
    """Of one step without alignment: prefixes shared, and as if they were not."""
    student = load_student(Path(str(inputs.student.checkpoint)), inputs.student)
    data = TrainingData(
        PreparedScenes(inputs.prepared), inputs.samples, student.tokenizer, inputs.training, 0
    )
    batch = data.assemble(data.plan(0).scenes).batch
    words = len(batch.answer_ids)
    shared, unshared = (
        BACKWARDS
        * (vision_flops(student, FRAMES * each.scenes) + language_flops(student, each, words))
        for each in (batch.layout, separately(batch.layout))
    )
    return shared, unshared


def measured_peak() -> float:
    """Operations per second of a large product."""
    one = torch.randn(1024, 1024)
    one @ one
    started = time.perf_counter()
    for _ in range(5):
        one @ one
    return 5 * 2 * 1024**3 / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    peak, rows = measured_peak(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = inputs_of(folder, options.steps)
        for alignment in (False, True):
            for questions in QUESTIONS:
                rows.append(measure(inputs, folder, questions, alignment, peak))
    if options.json:
        print(json.dumps({"schema": "bench.training_speed/1", "rows": [asdict(r) for r in rows]}))
        return
    for row in rows:
        print(
            f"k={row.questions:<3d} alignment {'on ' if row.alignment else 'off'} "
            f"{row.samples_per_s:7.1f} samples/s  utilisation {row.utilisation:6.1%} "
            f"(unshared {row.utilisation_unshared:6.1%})  waits for data {row.data_wait:5.1%}"
        )


if __name__ == "__main__":
    main()
