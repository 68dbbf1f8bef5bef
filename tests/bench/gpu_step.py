"""Real sizes on one GPU: extraction, a training step, evaluation; each beside the plain way.

Run `python tests/bench/gpu_step.py` on a machine with a GPU of 100 GiB or more: VGGT-1B on 32
frames, a 7B student with 6,720 visual tokens, random weights throughout, under ten minutes. With
`--tiny` everything is micro and runs on the CPU. Nothing here is asserted on time.

The optimizer is AdamW with weights and moments in bfloat16, 8 bytes per parameter: with float32
weights beside them the step would not fit on one GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from threedrs_components.objectives.text import TextConfig
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students import shared_prefix
from threedrs_components.students.batches import collate, object_candidates, training_question
from threedrs_components.students.shared_prefix import Packing, PrefixLayout
from threedrs_components.students.student import Student
from threedrs_components.teachers.vggt import layers as vggt_layers
from threedrs_components.teachers.vggt.architecture import VGGT_1B, VGGTArchitecture
from threedrs_components.teachers.vggt.config import VGGTConfig
from threedrs_components.teachers.vggt.layers import Aggregator
from threedrs_components.teachers.vggt.teacher import VGGTTeacher
from threedrs_components.testing.real_size import (
    language_flops,
    random_7b_student,
    separately,
    vision_flops,
)
from threedrs_components.testing.synthetic import random_samples, random_scene, random_student
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.prediction import MAX_QUESTION_TOKENS, predict_scene
from threedrs_platform.records import Sample

GIB = 2**30
TERA = 1e12
H200_TFLOPS = 989.0
"""Dense bfloat16, by its data sheet."""
BACKWARDS = 3
"""A training step computes three times the forward pass; what checkpointing repeats is no work."""


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    frames: int
    questions: int
    """Behind one prefix in training"""
    evaluated: int
    """Questions of the evaluated scene"""
    max_new_tokens: int
    most_tokens: int
    vggt: VGGTArchitecture


REAL = Size(32, 16, 300, 64, MAX_QUESTION_TOKENS, VGGT_1B)
TINY = Size(8, 16, 300, 4, 256, VGGTArchitecture())


@dataclass(frozen=True)
class Row:
    """One way of doing one thing."""

    what: str
    way: str
    seconds: float
    tokens_per_s: float
    utilisation: float
    """Of the peak, by the arithmetic that the model needs; shared prefixes count once."""
    utilisation_unshared: float
    """As if every question had its own prefix"""
    peak_gib: float
    """Above what lay there before"""


class Bench:
    """Measures on one device."""

    def __init__(self, device: torch.device, peak_tflops: float | None) -> None:
        self.device = device
        self.peak = (peak_tflops or self._measured_tflops()) * TERA
        self.rows: list[Row] = []

    def add(
        self,
        what: str,
        way: str,
        call: Callable[[], Any],
        tokens: float,
        flops: tuple[float, float],
        scale: int = 1,
    ) -> Any:
        """Run once to warm up, once to measure; `scale` when the whole takes so many such calls."""
        try:
            call()
            seconds, peak, result = self._measured(call)
        except torch.OutOfMemoryError:
            print(f"{what:12} {way:44} does not fit", flush=True)
            return None
        seconds *= scale
        shares = [work / seconds / self.peak for work in flops]
        row = Row(what, way, seconds, tokens / seconds, shares[0], shares[1], peak)
        self.rows.append(row)
        print(
            f"{what:12} {way:44} {seconds:8.3f} s {row.tokens_per_s:10,.0f} tokens/s "
            f"utilisation {shares[0]:6.1%} (unshared {shares[1]:6.1%}) peak +{peak:.2f} GiB",
            flush=True,
        )
        return result

    def _measured(self, call: Callable[[], Any]) -> tuple[float, float, Any]:
        self.free()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")
            before = _resident("VmRSS")
        started = time.perf_counter()
        result = call()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        cuda = self.device.type == "cuda"
        highest = torch.cuda.max_memory_allocated() if cuda else _resident("VmHWM")
        return seconds, (highest - before) / GIB, result

    def free(self) -> None:
        """Give back what nothing refers to."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _measured_tflops(self) -> float:
        """Of a large product: what a device without a data sheet can do."""
        one = torch.randn(1024, 1024, device=self.device)
        started, rounds = time.perf_counter(), 5
        for _ in range(rounds):
            one @ one
        return rounds * 2 * 1024**3 / (time.perf_counter() - started) / TERA


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def extraction(bench: Bench, size: Size) -> None:
    """One scene through VGGT, against float32 and all frames at once."""
    architecture, cuda = size.vggt, bench.device.type == "cuda"
    with bench.device:
        aggregator = Aggregator(architecture)
    precision: Any = "bfloat16" if cuda else "float32"
    config = VGGTConfig(architecture=architecture, precision=precision)
    teacher = VGGTTeacher(aggregator, architecture, config, "0" * 64)
    plain = VGGTTeacher(
        aggregator, architecture, config.model_copy(update={"precision": "float32"}), "0" * 64
    )
    side = architecture.image_size
    images = torch.rand(size.frames, 3, side, side, device=bench.device)
    patches = (side // architecture.patch_size) ** 2
    tokens = size.frames * (patches + 1 + architecture.num_registers)
    weights = sum(each.numel() for each in aggregator.parameters())
    pairs = tokens**2 + (tokens / size.frames) ** 2 * size.frames * (1 + 1)
    flops = 2.0 * weights * tokens + 4.0 * architecture.depth * architecture.embed_dim * pairs
    bench.add(
        "extraction",
        f"{precision}, in chunks",
        lambda: teacher.features(images),
        tokens,
        (flops,) * 2,
    )

    def at_once() -> Tensor:
        with changed(vggt_layers, "FRAMES_PER_CHUNK", size.frames):
            return plain.features(images)

    bench.add("extraction", "float32, all frames at once", at_once, tokens, (flops,) * 2)


def training(bench: Bench, size: Size, student: Student) -> None:
    """One optimizer step of text questions, against a mask and against separate prefixes."""
    module = TrainingModule(student, [TextConfig(weight=1.0).build(student)]).train()
    parameters = [each for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, weight_decay=0.0, fused=True)
    scene = scene_of(student, size)
    samples = [s for s in random_samples(scene, 3 * size.questions, 0) if s.kind == "text"]
    batch = batch_of(scene, samples[: size.questions], student)
    alone = batch_of(scene, samples[:1], student)
    layout, words = batch.batch.layout, len(batch.batch.answer_ids)

    def step(micro: MicroBatch) -> float:
        loss, _ = module(micro, Totals(questions=1, scenes=1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    flops = training_flops(student, size.frames, layout, words)
    tokens = layout.prefix + sum(layout.scene_tokens)
    shared = f"{size.questions} questions, one prefix"
    bench.add("training", f"{shared}, two parts", lambda: step(batch), tokens, flops)
    with changed(shared_prefix, "_of_questions", masked_attention):
        bench.add("training", f"{shared}, masked", lambda: step(batch), tokens, flops)
    many = size.questions
    bench.add(
        "training",
        f"each its own prefix (one measured, x{many})",
        lambda: step(alone),
        tokens,
        (flops[1], flops[1]),
        scale=many,
    )


def evaluation(bench: Bench, size: Size, student: Student) -> None:
    """All questions of a scene, against one pass and against separate prefixes."""
    student.eval()
    scene = scene_of(student, size)
    samples = random_samples(scene, size.evaluated, 0)

    def predict(chosen: list[Sample], most_tokens: int) -> list[Any]:
        return list(
            predict_scene(student, scene, chosen, size.max_new_tokens, most_tokens=most_tokens)
        )

    tokenizer = student.tokenizer
    lengths = [
        len(tokenizer.encode(each.prompt, None).ids) + size.max_new_tokens * (each.kind == "text")
        for each in samples
    ]
    prefix = tokenizer.prefix_length(size.frames, student.grid, False)
    layout = PrefixLayout(prefix, (tuple(lengths),))
    decoded = size.max_new_tokens * sum(each.kind == "text" for each in samples)
    flops = tuple(
        vision_flops(student, size.frames * each.scenes) + language_flops(student, each, decoded)
        for each in (layout, separately(layout))
    )
    shared, unshared = flops
    tokens, many = prefix + sum(lengths), len(samples)
    ours = bench.add(
        "evaluation",
        f"{many} questions in chunks of {size.most_tokens} tokens",
        lambda: predict(samples, size.most_tokens),
        tokens,
        (shared, unshared),
    )
    whole = bench.add(
        "evaluation",
        f"{many} questions at once",
        lambda: predict(samples, 10**9),
        tokens,
        (shared, unshared),
    )
    if ours and whole:
        same = sum(one.text == other.text for one, other in zip(ours, whole, strict=True))
        print(f"{'':12} {same} of {many} texts are the same in both")
    bench.add(
        "evaluation",
        f"each its own prefix (three measured, x{many // 3})",
        lambda: [predict([sample], 10**9) for sample in samples[:3]],
        tokens,
        (unshared, unshared),
        scale=many // 3,
    )


def training_flops(
    student: Student, frames: int, layout: PrefixLayout, words: int
) -> tuple[float, float]:
    """Of a step, with the prefix shared and as if it were not."""
    shared, unshared = (
        BACKWARDS
        * (vision_flops(student, frames * each.scenes) + language_flops(student, each, words))
        for each in (layout, separately(layout))
    )
    return shared, unshared


def masked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    packing: Packing,
    scale: float,
) -> Tensor:
    """The plain way: a mask over the prefix too, made and moved in every layer, keys repeated."""
    layout = packing.layout
    (lengths,) = layout.lengths
    question = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    total = len(question)
    own = (question[:, None] == question) & torch.ones(total, total).tril().bool()
    mask = torch.cat([torch.ones(total, layout.prefix, dtype=torch.bool), own], 1)
    repeat = query.shape[1] // key.shape[1]
    keys, values = (
        torch.cat([prefix, states.transpose(0, 1)[None]], 2).repeat_interleave(repeat, 1)
        for prefix, states in ((prefix_key, key), (prefix_value, value))
    )
    rows = query.transpose(0, 1)[None]
    out = scaled_dot_product_attention(rows, keys, values, mask.to(query.device), scale=scale)
    return out[0].transpose(0, 1)


def scene_of(student: Student, size: Size) -> PreparedScene:
    """A scene of noise as the student takes it."""
    return random_scene(
        "scene", 0, num_frames=size.frames, grid=student.grid, image_size=student.image_size,
        objects=20, proposals=50,
    )  # fmt: skip


def batch_of(scene: PreparedScene, samples: list[Sample], student: Student) -> MicroBatch:
    """The scene with these questions."""
    questions = [training_question(sample, scene, student.tokenizer) for sample in samples]
    return MicroBatch(collate([scene], [questions], [object_candidates(scene)], student.tokenizer))


@contextmanager
def changed(module: Any, name: str, value: Any) -> Iterator[None]:
    """A module's global with another value."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="micro sizes, on the CPU")
    parser.add_argument("--json", type=Path, help="write the rows here, too")
    parser.add_argument("--peak-tflops", type=float, help="of the device; else H200, or measured")
    options = parser.parse_args()
    size = TINY if options.tiny else REAL
    device = torch.device("cpu" if options.tiny else "cuda")
    bench = Bench(device, options.peak_tflops or (None if options.tiny else H200_TFLOPS))
    name = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}, peak taken as {bench.peak / TERA:.3g} TFLOP/s")
    extraction(bench, size)
    bench.free()
    student = random_student() if options.tiny else random_7b_student(device)
    count = sum(each.numel() for each in student.parameters())
    print(f"student of {count:,} parameters in {student.dtype}")
    training(bench, size, student)
    student.zero_grad(set_to_none=True)
    bench.free()
    evaluation(bench, size, student)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in bench.rows], indent=1))


if __name__ == "__main__":
    main()
