"""Memory and time of evaluating a scene with many questions: in chunks, and all at once.

Run `python tests/bench/evaluation_memory.py [--questions 300 1200]`. A micro student at the real
grid: 32 frames of 14 x 14 tokens, 6,721 tokens of prefix. Every way runs in a process of its own.
Nothing here is asserted on time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.settings import MicroWidths
from threedrs_components.testing.synthetic import WORDS, random_samples, random_scene
from threedrs_components.training.prediction import predict_scene

FRAMES, NEW_TOKENS = 32, 8
WAYS: dict[str, dict[str, Any]] = {"chunks": {}, "at once": {"most_tokens": 10**9}}


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest tensor that was made and is no frame of the scene."""

    elements = 0
    shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            is_number = isinstance(each, Tensor) and each.dtype != torch.uint8
            if is_number and each.numel() > self.elements:
                self.elements, self.shape = each.numel(), tuple(each.shape)
        return made


def run_way(questions: int, way: str) -> None:
    """One way, in this process: print what it took."""
    torch.set_num_threads(1)
    widths = MicroWidths(image_size=112, patch_size=4, layers=2)
    student = micro_student(
        LlavaVideoConfig(micro=widths), ["describe where is the a in .", *WORDS], 0
    ).eval()
    scene = random_scene("scene", 0, num_frames=FRAMES, grid=student.grid, image_size=112)
    samples = random_samples(scene, questions, 0)
    predict_scene(student, scene, samples[:3], NEW_TOKENS)
    Path("/proc/self/clear_refs").write_text("5")
    before, started = _resident("VmRSS"), time.process_time()
    predict_scene(student, scene, samples, NEW_TOKENS, **WAYS[way])
    seconds = time.process_time() - started
    peak = (_resident("VmHWM") - before) / 2**20
    with LargestTensor() as largest:  # type: ignore[no-untyped-call]
        predict_scene(student, scene, samples, NEW_TOKENS, **WAYS[way])
    print(
        f"{questions:5d} questions, {way:8} {seconds:7.1f} CPU-s, peak +{peak:5.2f} GiB, largest "
        f"tensor {largest.elements / 1e6:7.1f} M elements {list(largest.shape)}"
    )


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field))


def main() -> None:
    """Parent: run every way. Child (--way): one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, nargs="+", default=[300, 1200])
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run_way(options.questions[0], options.way)
        return
    for questions in options.questions:
        for way in WAYS:
            flags = ["--questions", str(questions), "--way", way]
            subprocess.run([sys.executable, __file__, *flags], check=True)


if __name__ == "__main__":
    main()
