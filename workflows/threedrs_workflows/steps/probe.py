"""Step "probe": correspondence scores and the position probe of a student or of stored features."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from threedrs_components.devices import device_for
from threedrs_components.probing.world import FeaturesOf, probe_world
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.scenes.splits import scenes_of
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder, check_frames
from threedrs_workflows.steps.params.probe import ProbeParams


def run(task: StepTask) -> None:
    """Inputs: scenes, prepared, and student or features."""
    params = ProbeParams.of(task)
    config, scenes = params.probe, task.inputs["scenes"]
    prepared = PreparedScenes(task.inputs["prepared"])
    features_of = (
        _stored_features(task.inputs["features"])
        if params.student is None
        else _student_features(
            task.inputs["student"],
            params.student.open(StudentSettings),
            params.evaluation or EvaluationConfig(),
            config.layer,
            device_for(task.settings.get("gpus", 0)),
        )
    )
    held_out = params.held_out.scenes(scenes) if params.held_out else frozenset()
    fit, test = (
        [scene for scene in split if scene in prepared]
        for split in (
            [each for each in scenes_of(scenes, params.fit_split) if each not in held_out],
            sorted(held_out) or scenes_of(scenes, params.test_split),
        )
    )
    probe = probe_world(features_of, prepared, fit, test, config, task.progress)
    for metric in probe.metrics:
        task.metric(metric)
    task.sample_scores(probe.scores)
    for scene_id in probe.without_pairs:
        task.warn(f"scene {scene_id}: no voxel is seen in two frames; it has no score")
    table = [asdict(metric) for metric in probe.metrics]
    (task.out / "probe.json").write_text(json.dumps(table, indent=1))


def _stored_features(folder: Path) -> FeaturesOf:
    stored = FeatureFolder(folder)

    def features_of(scene: PreparedScene) -> Tensor:
        features = stored[scene.scene_id]
        check_frames(features, scene.frame_names)
        return torch.from_numpy(features.features.astype("float32"))

    return features_of


def _student_features(
    checkpoint: Path,
    config: StudentSettings,
    evaluation: EvaluationConfig,
    layer: int,
    device: torch.device,
) -> FeaturesOf:
    from threedrs_components.students.build import student_at
    from threedrs_components.students.checkpoints import student_features

    student = student_at(checkpoint, config, evaluation.dtype, device)

    def features_of(scene: PreparedScene) -> Tensor:
        states = student_features(student, scene.frame_batch(), scene.coordinates, layer)
        return states.cpu()

    return features_of
