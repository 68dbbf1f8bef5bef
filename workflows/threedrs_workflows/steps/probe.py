"""Step "probe": what can be read of the states of a student, or of stored features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from threedrs_components.devices import device_for
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.probing.world import (
    FeaturesOf,
    ProbedScene,
    check_apart,
    probe_scenes,
    probe_world,
)
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.scenes.splits import scenes_of
from threedrs_components.students.places import Place, places
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder, check_frames, feature_path
from threedrs_workflows.steps.params.probe import ProbeParams
from threedrs_workflows.steps.processes import Work, over_gpus


def run(task: StepTask) -> None:
    """Inputs: scenes, prepared, and student or features; both for a student with fusion.

    Scenes are probed by a process for each GPU.
    """
    params = ProbeParams.of(task)
    scenes, prepared = task.inputs["scenes"], PreparedScenes(task.inputs["prepared"])
    held_out = params.held_out.scenes(scenes) if params.held_out else frozenset()
    fit, test = (
        [scene for scene in split if scene in prepared and _is_known(task, params, scene)]
        for split in (
            [each for each in scenes_of(scenes, params.fit_split) if each not in held_out],
            sorted(held_out) or scenes_of(scenes, params.test_split),
        )
    )
    check_apart(fit, test)
    probing = Probing(params, task.inputs, frozenset(test), task.settings.get("gpus") or 0)
    probed = dict(over_gpus(task, probing, [*fit, *test]))
    probe = probe_world(probed, fit, test, params.probe)
    for metric in probe.metrics:
        task.metric(metric)
    task.sample_scores(probe.scores)
    for scene_id in probe.without_pairs:
        task.warn(f"scene {scene_id}: no voxel is seen in two frames; it has no score")
    table = [asdict(metric) for metric in probe.metrics]
    (task.out / "probe.json").write_text(json.dumps(table, indent=1))


@dataclass(frozen=True)
class Probing:
    """What a process that probes scenes is given."""

    params: ProbeParams
    inputs: Mapping[str, Path]
    scored: frozenset[str]
    gpus: float

    def __call__(self) -> Work[ProbedScene]:
        """Open the features or the student."""
        features_of, prepared = self._features_of(), PreparedScenes(self.inputs["prepared"])
        return lambda scene_ids: probe_scenes(
            features_of, prepared, scene_ids, self.scored, self.params.probe
        )

    def _features_of(self) -> FeaturesOf:
        params = self.params
        if params.student is None:
            return _stored_features(self.inputs["features"], params.probe.layer)
        return _student_features(
            self.inputs["student"],
            params.student.open(StudentSettings),
            params.evaluation or EvaluationConfig(),
            params.probe,
            device_for(self.gpus),
            self.inputs.get("features"),
        )


def _is_known(task: StepTask, params: ProbeParams, scene_id: str) -> bool:
    """Whether the features are there that the student reads beside the frames, if it does."""
    features = task.inputs.get("features")
    if params.student is None or features is None:
        return True
    return feature_path(features, scene_id).is_file()


def _stored_features(folder: Path, place: Place) -> FeaturesOf:
    stored = FeatureFolder(folder)

    def features_of(scene: PreparedScene) -> dict[Place, Tensor]:
        features = stored[scene.scene_id]
        check_frames(features, scene.frame_names)
        return {place: torch.from_numpy(features.features.astype("float32"))}

    return features_of


def _student_features(
    checkpoint: Path,
    config: StudentSettings,
    evaluation: EvaluationConfig,
    probe: ProbeConfig,
    device: torch.device,
    features: Path | None,
) -> FeaturesOf:
    from threedrs_components.students.build import student_at
    from threedrs_components.students.checkpoints import places_features
    from threedrs_components.students.guidance import guidance_of

    student = student_at(checkpoint, config, evaluation.dtype, device)
    guidance = guidance_of(student, features)
    further = places(student.num_layers) if isinstance(probe.places, str) else probe.places
    wanted = tuple(dict.fromkeys((*further, probe.layer)))

    def features_of(scene: PreparedScene) -> dict[Place, Tensor]:
        frames, maps = scene.frame_batch(), guidance(scene)
        return places_features(student, frames, scene.coordinates, wanted, maps)

    return features_of
