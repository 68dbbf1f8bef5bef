"""What step "finetune" trains on, and which held-out scenes it looks at on the way."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, read_samples
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.splits import scenes_of
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import feature_path


def held_out_samples(task: StepTask, features: Path | None = None) -> dict[str, list[Sample]]:
    """Samples of the scenes that were held out of training, by scene; none where none were.

    Samples of an evaluated split are never read: training must not look at it.

    Args:
        task: of the step.
        features: folder of those that the student reads beside the frames, if it does.
    """
    samples, prepared = task.inputs["samples"], PreparedScenes(task.inputs["prepared"])
    if not (samples / HELD_OUT_FILE).is_file():
        return {}
    held_out = set(json.loads((samples / HELD_OUT_FILE).read_text()))
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(samples / "evaluation.jsonl"):
        known = features is None or feature_path(features, sample.scene_id).is_file()
        if sample.scene_id in held_out and sample.scene_id in prepared and known:
            by_scene[sample.scene_id].append(sample)
    return dict(by_scene)


def training_samples(
    task: StepTask, text_split: str, features: Path | None
) -> dict[str, list[Sample]]:
    """Training samples by scene; scenes that an earlier step skipped are left out, and named.

    Args:
        task: of the step.
        text_split: of the scenes to train on.
        features: folder of a teacher's features, or of its depth where no features are read.

    Raises:
        DataError: a scene to train on is also evaluated.
    """
    prepared = PreparedScenes(task.inputs["prepared"])
    split = set(scenes_of(task.inputs["scenes"], text_split))
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(task.inputs["samples"] / "train.jsonl"):
        if sample.scene_id in split:
            by_scene[sample.scene_id].append(sample)
    evaluated = {
        sample.scene_id for sample in read_samples(task.inputs["samples"] / "evaluation.jsonl")
    }
    if both := sorted(evaluated & by_scene.keys()):
        raise DataError(
            f"{len(both)} scenes are in the split {text_split!r} to train on and "
            f"among the evaluated ones, e.g. {both[0]}; evaluate another split (benchmarks.split)"
        )
    for scene_id in sorted(by_scene):
        without_features = features is not None and not feature_path(features, scene_id).is_file()
        if scene_id not in prepared or without_features:
            what = "teacher features" if scene_id in prepared else "prepared file"
            task.warn(f"scene {scene_id} has no {what}; its {len(by_scene[scene_id])} samples rest")
            del by_scene[scene_id]
    return dict(by_scene)
