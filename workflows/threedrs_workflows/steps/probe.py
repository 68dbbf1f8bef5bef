"""Step "probe": correspondence scores and the position probe of a student or of stored features."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from threedrs_components.devices import device_for
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.probing.world import FeaturesOf, probe_world
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.scenes.source import open_scenes
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder, check_frames
from threedrs_workflows.steps.evaluation_samples import held_out_of


def run(task: StepTask) -> None:
    """Params: probe, fit_split, test_split, held_out.

    Inputs: scenes, prepared, and student or features.
    """
    config = ProbeConfig.model_validate(task.params["probe"])
    source = open_scenes(task.inputs["scenes"])
    prepared = PreparedScenes(task.inputs["prepared"])
    features_of = (
        _stored_features(task.inputs["features"])
        if "features" in task.inputs
        else _student_features(
            task.inputs["student"], config.layer, device_for(task.settings.get("gpus", 0))
        )
    )
    held_out = held_out_of(task)
    fit, test = (
        [scene for scene in scenes if scene in prepared]
        for scenes in (
            [each for each in source.scenes(task.params["fit_split"]) if each not in held_out],
            sorted(held_out) or source.scenes(task.params["test_split"]),
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


def _student_features(checkpoint: Path, layer: int, device: torch.device) -> FeaturesOf:
    from threedrs_components.students.checkpoints import student_features
    from threedrs_components.students.registry import open_student

    student = open_student(checkpoint).to(device)

    def features_of(scene: PreparedScene) -> Tensor:
        states = student_features(student, scene.frame_batch(), scene.coordinates, layer)
        return states.cpu()

    return features_of
