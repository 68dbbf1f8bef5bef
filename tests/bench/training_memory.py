"""Memory of the host that a training rank takes for scenes and teacher features of published size.

    python tests/bench/training_memory.py [--scenes 500] [--rounds 600] [--tree DIR ...]

Frames, features, boxes and questions of each scene are as large as those of ScanNet with VGGT
under the preset as_released; their content is noise. The scenes are so many names of 2 files: each
is mapped for itself, so what is resident of it counts for each, but the disk holds 2. Everything
that a rank reads is read, in its order; nothing is computed, as if on a GPU. A --tree is another
checkout, measured in turn with this one. Evaluation reads scenes as step predict does, with fusion.

"own" is anonymous memory: batches, pairs, questions, libraries. "file" are resident pages of mapped
files, which the kernel can take back. Both count as resident, and both are bounded by
training.scene_memory_gib and training.rounds_ahead. The kernel's cache of files is in neither.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

FRAMES, GRID, IMAGE, PATCHES, CHANNELS = 32, 14, 384, 27, 2048
OBJECTS, PROPOSALS, PAIRS = 30, 50, 250_000
FILES = 2
ROOT = Path(__file__).parents[2]
CASES = {
    "distillation, 1 scene a round": {"per_round": 1, "fusion": False},
    "with fusion, 1 scene a round": {"per_round": 1, "fusion": True},
    "with fusion, 4 scenes a round": {"per_round": 4, "fusion": True},
}
EVALUATION = "evaluation, with fusion"
SEEN = ("RssAnon:", "RssFile:", "VmHWM:")


def write_scenes(root: Path, scenes: int, questions: int) -> None:
    """Prepared scenes, features and questions of noise."""
    import torch

    from threedrs_components.benchmarks.sample_files import write_samples
    from threedrs_components.scenes.pairs import PairMatrix
    from threedrs_components.scenes.prepared import prepared_files, write_prepared
    from threedrs_components.testing.synthetic import (
        random_samples,
        random_scene,
        write_random_features,
    )

    tokens = FRAMES * GRID * GRID
    samples = []
    for number in range(FILES):
        scene = random_scene(
            f"scene{number:04d}_00",
            number,
            num_frames=FRAMES,
            grid=GRID,
            image_size=IMAGE,
            objects=OBJECTS,
            proposals=PROPOSALS,
        )
        rows = torch.randint(0, tokens // 2, (PAIRS,))
        pairs = PairMatrix(
            num_frames=FRAMES,
            tokens_per_frame=GRID * GRID,
            rows=rows,
            columns=rows + tokens // 2,
            counts=torch.ones(PAIRS, dtype=torch.int64),
            voxel_weights=torch.ones(PAIRS, dtype=torch.float64) / PAIRS,
            points=torch.ones(tokens, dtype=torch.int64),
            voxels=1,
            occupied_voxels=1,
        )
        finer = (FRAMES, PATCHES, PATCHES)
        scene = replace(
            scene,
            pairs=pairs,
            object_patches=torch.rand(OBJECTS, *finer),
            proposal_patches=torch.rand(PROPOSALS, *finer),
        )
        write_prepared(scene, root / "prepared")
        write_random_features(scene, root / "features", CHANNELS, number)
        samples.append(random_samples(scene, questions, number))
    for number in range(FILES, scenes):
        old, new = f"scene{number % FILES:04d}_00", f"scene{number:04d}_00"
        for one, other in zip(
            prepared_files(root / "prepared", old),
            prepared_files(root / "prepared", new),
            strict=True,
        ):
            os.link(one, other)
        os.link(root / f"features/{old}.arrow", root / f"features/{new}.arrow")
    write_samples(
        root / "train.jsonl",
        [
            replace(sample, scene_id=f"scene{number:04d}_00", sample_id=f"{number}/{index}")
            for number in range(scenes)
            for index, sample in enumerate(samples[number % FILES])
        ],
    )


def memory() -> dict[str, float]:
    """GiB of this process by the kernel's names."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {words[0]: words[1] for words in map(str.split, lines) if len(words) > 1}
    return {name[:-1]: int(found[name]) / 2**20 for name in SEEN}


def reading(root: Path, case: dict[str, Any], rounds: int) -> Iterator[object]:
    """What a rank reads, round by round."""
    from threedrs_components.benchmarks.sample_files import read_samples
    from threedrs_components.objectives.alignment.config import AlignmentConfig
    from threedrs_components.objectives.objective import TeacherFeatures
    from threedrs_components.scenes.prepared import PreparedScenes
    from threedrs_components.students.fusion_settings import FusionSettings
    from threedrs_components.students.guidance import Guidance
    from threedrs_components.testing.synthetic import TASKS, random_student
    from threedrs_components.training.config import TrainingConfig
    from threedrs_components.training.data import TrainingData
    from threedrs_components.training.loop import TrainingInputs
    from threedrs_components.training.strategies import World

    prepared, student = PreparedScenes(root / "prepared"), random_student()
    samples: dict[str, list[Any]] = {}
    for sample in read_samples(root / "train.jsonl"):
        samples.setdefault(sample.scene_id, []).append(sample)
    training = TrainingConfig(
        steps=rounds, scenes_per_step=case["per_round"], questions_per_scene=1, batches="tasks"
    )
    settings = (*TASKS, AlignmentConfig())
    inputs = TrainingInputs(
        student.config, prepared.root, samples, training, settings, root / "features", start="-"
    )
    inputs.identity(World())
    teacher = TeacherFeatures(root / "features", prepared, sorted(samples))
    objectives = [each.build(student, teacher) for each in settings]
    guidance = None
    if case["fusion"]:
        guidance = Guidance(root / "features", FusionSettings(mode="add"))
        guidance.check(prepared, sorted(samples))
    data = TrainingData(
        prepared,
        samples,
        student.tokenizer,
        training,
        0,
        objectives=objectives,
        guidance=guidance,
    )
    with closing(data.rounds(0, 0, 1)) as made:
        yield from made


def evaluating(root: Path) -> Iterator[object]:
    """What step predict reads, scene by scene."""
    from threedrs_components.scenes.ahead import ahead, in_memory
    from threedrs_components.scenes.prepared import PreparedScenes
    from threedrs_components.students.fusion_settings import FusionSettings
    from threedrs_components.students.guidance import Guidance, guidance_of
    from threedrs_components.testing.synthetic import random_student

    prepared, student = PreparedScenes(root / "prepared"), random_student()
    settings = FusionSettings(mode="add")
    width, source = Guidance(root / "features", settings).check(prepared, prepared.scenes()[:1])
    student.fuse(settings, width, source)
    guidance = guidance_of(student, root / "features")

    def read(scene_id: str) -> object:
        scene = in_memory(prepared[scene_id])
        return scene, guidance(scene)

    with closing(ahead(read, prepared.scenes())) as scenes:
        yield from scenes


def measure(root: Path, name: str, rounds: int) -> None:
    """One case, in this process: print what it took."""
    import threedrs_components.training.loop  # noqa: F401

    libraries, began = memory()["RssAnon"], time.perf_counter()
    made = evaluating(root) if name == EVALUATION else reading(root, CASES[name], rounds)
    _held: object = next(made)
    ready, own, file, count = time.perf_counter() - began, 0.0, 0.0, 0
    started, cpu = time.perf_counter(), time.process_time()
    for _held in made:
        now = memory()
        own, file, count = max(own, now["RssAnon"]), max(file, now["RssFile"]), count + 1
    numbers = (libraries, own, file, memory()["VmHWM"], ready)
    each = (
        1e3 * spent / count for spent in (time.process_time() - cpu, time.perf_counter() - started)
    )
    print(f"  {name:30}" + "".join(f"{number:9.2f}" for number in (*numbers, *each)), flush=True)


def main() -> None:
    """Parent: every case on every tree. Child (--case): one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--questions", type=int, default=400, help="of each scene")
    parser.add_argument("--tree", type=Path, action="append", default=[])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=[*CASES, EVALUATION], help="this one alone")
    options = parser.parse_args()
    if options.folder:
        measure(options.folder, options.case, options.rounds)
        return
    with tempfile.TemporaryDirectory() as passing:
        root = Path(passing)
        write_scenes(root, options.scenes, options.questions)
        told = f"{options.scenes} scenes of {options.questions} questions, {options.rounds} rounds"
        print(f"{told}; GiB, seconds, and ms a round")
        titles = ("imported", "own", "file", "peak", "start s", "CPU ms", "ms")
        print(f"  {'':30}" + "".join(f"{each:>9}" for each in titles), flush=True)
        for tree in (*options.tree, ROOT):
            print(tree, flush=True)
            packages = ("platform", "components", "workflows", "dashboards")
            paths = os.pathsep.join(str(tree / each) for each in packages)
            for case in [options.case] if options.case else (*CASES, EVALUATION):
                flags = ["--folder", str(root), "--case", case, "--rounds", str(options.rounds)]
                environment = {**os.environ, "PYTHONPATH": paths}
                subprocess.run([sys.executable, __file__, *flags], check=True, env=environment)


if __name__ == "__main__":
    main()
