"""A workspace with one finished run over real artifacts: small scenes, untrained students.

Everything a page reads is there in its real format; only the weights, the teacher's features and
the scores are drawn at random, so it takes a second or two where a run takes minutes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.prediction_files import write_predictions
from threedrs_components.benchmarks.sample_files import read_samples, write_samples
from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes, prepare_scene, write_prepared
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.settings import MicroWidths
from threedrs_components.testing.prompts import bare_prompts
from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.measurements import (
    CellResult,
    Measurement,
    RunResults,
    RunSummary,
    StepSummary,
)
from threedrs_platform.records import FeatureMap, Metric, Prediction, Sample, SampleScore
from threedrs_platform.states import RunState, StepState
from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.store.features import FeatureHeader, feature_path, write_features
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

FRAMES, GRID, VAL_SCENES, LAYERS = 3, 4, 5, 2
BASELINE, TAUGHT, BLIND, FAILED = "baseline", "vggt", "blind", "failed"
"""Ids of the cells."""
SEEDS = (1, 2)
RUN = "tiny-1"
ACC, PROBE = "scanrefer/acc@0.25", "probe/score"

Scores = dict[str, list[SampleScore]]


def write_tiny_run(root: Path) -> None:
    """Make a workspace in `root`."""
    with find_workspace(str(root), environment={}) as workspace:
        artifacts = _Artifacts(root / "making", workspace.store)
        cells, scores = artifacts.cells()
        summary = RunSummary(RUN, "tiny", RunState.PARTIAL, 1.0, 2.0, "tiny.yaml")
        run = RunResults(summary, tuple(cells))
        store_run(workspace.database, run, scores, dict(_trainings()))


def _trainings() -> Iterator[tuple[str, list[CurvePoint]]]:
    """A falling loss of every training, which looks at held-out scenes now and then."""
    for number, cell_id in enumerate((BASELINE, TAUGHT, BLIND)):
        for seed in SEEDS:
            points = [CurvePoint(step, "loss", 4.0 / (step + number)) for step in range(10, 60, 10)]
            points += [
                CurvePoint(step, "validation/loss", 1.0 + number + seed / step) for step in (20, 40)
            ]
            yield _key("finetune", f"{cell_id}-{seed}"), points


class _Artifacts:
    """Makes folders, publishes them, and remembers their digests."""

    def __init__(self, root: Path, store: ArtifactStore) -> None:
        self._root, self._store = root, store
        self._digests: dict[str, str] = {}
        self._scenes = root / "scenes"
        config = MicroWorldConfig(train=3, text=2, val=VAL_SCENES, num_frames=FRAMES)
        write_world(config, self._scenes, "student")
        self._val = list(RGBDFolder(self._scenes).scenes("val"))
        self._prepared = self._prepare()
        self._samples = self._evaluation_samples()

    def cells(self) -> tuple[list[CellResult], Scores]:
        """Cells whose steps point at published artifacts, and their per-sample scores."""
        scores: Scores = {}
        shared = {
            "scenes": self._publish("scenes", self._scenes),
            "samples": self._publish("samples", self._root / "samples"),
        }
        features = self._features()
        cells = []
        for cell_id in (BASELINE, TAUGHT, BLIND, FAILED):
            for seed in SEEDS:
                roles = dict(shared)
                if cell_id == TAUGHT:
                    roles["extract"] = features
                made, metrics = self._cell(cell_id, seed, roles, scores)
                cells.append(_result(cell_id, seed, made, metrics))
        prepared = self._publish("prepared", self._root / "prepared")
        return [_with_step(cell, "prepare", prepared) for cell in cells], scores

    def _cell(
        self, cell_id: str, seed: int, roles: dict[str, str], scores: Scores
    ) -> tuple[dict[str, str], dict[str, Measurement]]:
        if cell_id == FAILED:
            return roles, {}
        name = f"{cell_id}-{seed}"
        student = self._student(name, zlib.crc32(name.encode()), blind=cell_id == BLIND)
        made = {**roles, "finetune": student, "predict": self._predictions(name), "score": ""}
        metrics = {ACC: Measurement(Metric(ACC, 50.0, len(self._samples)), _key("score", name))}
        scores[_key("score", name)] = [
            SampleScore(ACC, each.sample_id, each.scene_id, 100.0 * _coin(name, each.sample_id))
            for each in self._samples
            if each.benchmark == "scanrefer"
        ]
        if cell_id != BLIND:
            made["probe"] = ""
            gain = 0.2 if cell_id == TAUGHT else 0.0
            metrics[PROBE] = Measurement(
                Metric(PROBE, 0.5, VAL_SCENES, "cosine"), _key("probe", name)
            )
            scores[_key("probe", name)] = [
                SampleScore(PROBE, scene, scene, 0.1 * index + 0.01 * seed + gain)
                for index, scene in enumerate(self._val)
            ]
        return made, metrics

    def _prepare(self) -> PreparedScenes:
        source = RGBDFolder(self._scenes)
        proposals = read_candidates(self._scenes / "proposals" / "val.json")
        for scene_id in source.scenes("all"):
            config = PrepareConfig(num_frames=FRAMES, grid=GRID)
            scene = prepare_scene(source.load(scene_id), proposals.get(scene_id), config)
            write_prepared(scene, self._root / "prepared")
        return PreparedScenes(self._root / "prepared")

    def _evaluation_samples(self) -> list[Sample]:
        config = BenchmarksConfig(names=("scanrefer", "scanqa"), prompts=bare_prompts())
        folder = config.folder(self._scenes, oracle=False)
        samples = [
            sample
            for name in config.names
            for sample in config.loader(name).samples(folder, config.wording(), "val")
        ]
        path = self._root / "samples" / "evaluation.jsonl"
        path.parent.mkdir()
        write_samples(path, samples)
        return read_samples(path)

    def _student(self, name: str, seed: int, blind: bool) -> str:
        widths = MicroWidths(
            vision_width=16, vision_layers=1, vision_heads=2, vision_ff=32,
            width=32, layers=LAYERS, heads=2, key_value_heads=2, ff=64,
        )  # fmt: skip
        config = LlavaVideoConfig(micro=widths, blind=blind)
        folder = self._root / f"student-{name}"
        save_student(micro_student(config, ["where is the lamp"], seed), folder)
        return self._publish(folder.name, folder)

    def _features(self) -> str:
        folder = self._root / "features"
        header = FeatureHeader("vggt", "0" * 64, "none", "none", -1)
        for number, scene_id in enumerate(self._val):
            shape = (FRAMES, GRID, GRID, 8)
            values = np.random.default_rng(number).standard_normal(shape).astype(np.float16)
            names = self._prepared[scene_id].frame_names
            path = feature_path(folder, scene_id)
            write_features(path, FeatureMap(scene_id, names, values), header)
        return self._publish("features", folder)

    def _predictions(self, name: str) -> str:
        folder = self._root / f"predictions-{name}"
        folder.mkdir()
        answers = [self._answer(name, sample) for sample in self._samples]
        write_predictions(folder / "predictions.jsonl", answers)
        return self._publish(folder.name, folder)

    def _answer(self, name: str, sample: Sample) -> Prediction:
        if sample.kind == "text":
            return Prediction(sample.sample_id, text=f"answer of {name}")
        boxes = tuple(tuple(box) for box in self._prepared[sample.scene_id].proposals.tolist())
        best = zlib.crc32(f"{name} {sample.sample_id}".encode()) % len(boxes)
        scores = tuple(1.0 if index == best else 0.0 for index in range(len(boxes) + 1))
        return Prediction(sample.sample_id, boxes=boxes, scores=scores)

    def _publish(self, name: str, folder: Path) -> str:
        if name not in self._digests:
            self._digests[name] = self._store.publish(folder).digest
        return self._digests[name]


def _coin(*words: str) -> int:
    """Heads or tails, always the same for the same words."""
    return zlib.crc32(" ".join(words).encode()) % 2


def _key(role: str, name: str) -> str:
    return f"key-{role}-{name}"


def _result(
    cell_id: str, seed: int, roles: Mapping[str, str], metrics: Mapping[str, Measurement]
) -> CellResult:
    name = f"{cell_id}-{seed}"
    own = ("finetune", "predict", "probe", "score")
    steps = [
        StepSummary(role, _key(role, name) if role in own else f"key-{role}", role,
                    StepState.SUCCEEDED, digest or None)
        for role, digest in roles.items()
    ]  # fmt: skip
    if cell_id == FAILED:
        broken = StepState.FAILED
        steps.append(StepSummary("finetune", _key("finetune", name), "finetune", broken, cause="x"))
    params: dict[str, Any] = {
        "scenes": {"kind": "micro"},
        "teacher": cell_id if cell_id == TAUGHT else "none",
    }
    return CellResult(cell_id, cell_id, seed, "", params, tuple(steps), dict(metrics))


def _with_step(cell: CellResult, role: str, digest: str) -> CellResult:
    step = StepSummary(role, f"key-{role}", role, StepState.SUCCEEDED, digest)
    return replace(cell, steps=(*cell.steps, step))
