"""Candidates pooled by share, or by the released thresholds and before pooling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes, write_prepared
from threedrs_components.students.batches import collate, object_candidates
from threedrs_components.students.object_features import (
    EIGHTH_OF_CELL,
    HALF_OF_PATCH,
    pooled,
    released_weights,
)
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import random_samples, random_scene, random_student
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.errors import DataError


@pytest.mark.parametrize(
    ("inside", "area", "threshold", "belongs"),
    [
        (98, 196, HALF_OF_PATCH, 1.0),
        (97, 196, HALF_OF_PATCH, 0.0),
        (91, 729, EIGHTH_OF_CELL, 1.0),
        (90, 729, EIGHTH_OF_CELL, 0.0),
    ],
)
def test_released_thresholds_count_pixels(
    inside: int, area: int, threshold: float, belongs: float
) -> None:
    share = torch.tensor([float(inside)]) / area
    assert released_weights(share, threshold).tolist() == [belongs]


def scene_with_patches(side: int = 8) -> PreparedScene:
    scene = random_scene("scene", 0)
    chance = torch.Generator().manual_seed(1)
    return replace(
        scene,
        object_patches=torch.rand(3, 2, side, side, generator=chance),
        proposal_patches=torch.rand(4, 2, side, side, generator=chance),
    )


def features(student: Student, scene: PreparedScene) -> tuple[Tensor, Tensor, Tensor]:
    """Candidate features [K, C], last states [F, P, P, C], projected patches [F, R, R, C]."""
    batch = collate([scene], [[]], [object_candidates(scene)], student.tokenizer)
    with torch.no_grad():
        output = student.prefill(batch.frames).output
        found = student.object_features(
            batch.candidate_weights, batch.candidate_boxes, output, batch.candidate_patches
        )
        patches = student.patches(scene.images)
    return found[0], output.hidden[-1][0], patches


@pytest.mark.parametrize("kind", ["llava_video", "llava_onevision"])
def test_released_features_average_states_of_cells_and_unpooled_patches(kind: str) -> None:
    student = random_student(
        kind=kind,
        object_features="both",
        object_membership="released",
        position_encoding=True,
    ).eval()
    scene = scene_with_patches()
    found, hidden, patches = features(student, scene)
    assert patches.shape[1:3] == (8, 8)
    assert scene.object_patches is not None
    states = pooled((scene.object_weights >= 91 / 729).float(), hidden)
    seen = pooled((scene.object_patches >= 0.5).float(), patches)
    expected = (states + seen + student.sine(scene.boxes[:, :3], student.width)) / 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_tower_that_pools_reads_its_tokens_at_half_a_cell() -> None:
    student = random_student(
        kind="qwen2_vl", object_features="vision", object_membership="released"
    ).eval()
    scene = random_scene("scene", 0)
    found, _, tokens = features(student, scene)
    expected = pooled((scene.object_weights >= 0.5).float(), tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_scenes_without_patches_say_what_to_set() -> None:
    student = random_student(object_features="vision", object_membership="released").eval()
    with pytest.raises(DataError, match=r"set prepare\.patch_grid: 8"):
        features(student, random_scene("scene", 0))


def test_prepared_patches_reach_the_prediction(tmp_path: Path) -> None:
    write_prepared(scene_with_patches(), tmp_path)
    scene = PreparedScenes(tmp_path)["scene"]
    assert scene.proposal_patches is not None
    student = random_student(object_features="vision", object_membership="released").eval()
    samples = [s for s in random_samples(scene, 3, 0) if s.kind == "ground"]
    scores = predict_scene(student, scene, samples)[0].scores
    other = replace(scene, proposal_patches=1 - scene.proposal_patches)
    assert scores != predict_scene(student, other, samples)[0].scores


def test_frames_of_another_size_are_refused() -> None:
    student = random_student().eval()
    with pytest.raises(DataError, match=r"set prepare\.image_size: 64 and prepare\.grid: 4"):
        features(student, random_scene("scene", 0, image_size=32))
