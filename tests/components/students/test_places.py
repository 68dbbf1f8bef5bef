"""Places before the language model, in every kind of student."""

from __future__ import annotations

import pytest
import torch

from threedrs_components.scenes.geometry import overlaps
from threedrs_components.students.batches import collate, object_candidates
from threedrs_components.students.checkpoints import places_features, student_features
from threedrs_components.students.places import places
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.tower_grid import at_token_grid
from threedrs_components.testing.synthetic import random_scene, random_student

torch.set_num_threads(1)


@pytest.mark.parametrize("kind", STUDENTS)
def test_one_pass_gives_every_place(kind: str) -> None:
    student = random_student(kind=kind).eval()
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    every = places(student.num_layers)
    found = places_features(student, scene.frame_batch(), scene.coordinates, every)
    assert tuple(found) == every and every[:3] == ("tower", "projector", 0)
    side = student.grid
    for place, states in found.items():
        assert states.shape == (2, side, side, student.width_at(place))
        alone = student_features(student, scene.frame_batch(), scene.coordinates, place)
        torch.testing.assert_close(states, alone, rtol=1e-4, atol=1e-5)
    # Nothing is added to the tokens of this student before the language model reads them.
    torch.testing.assert_close(found["projector"], found[0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        states = student.patch_states(scene.images)
    rows = student.image_size // student.patch_size
    fine = torch.unflatten(states, 1, (side, rows // side, side, rows // side))
    torch.testing.assert_close(found["tower"], fine.mean((2, 4)))


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_gradient_at_the_tower_reaches_the_tower_alone(kind: str) -> None:
    student = random_student(kind=kind, frozen=())
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    batch = collate([scene], [[]], [object_candidates(scene)], student.tokenizer)
    frames = batch.frames
    for place, moved in (("tower", {"vision"}), ("projector", {"vision", "projector"})):
        student.zero_grad()
        output = student(frames, batch.layout, batch.ids, batch.regions, (place,))
        torch.autograd.backward(output.hidden[place].square().sum())
        touched = {
            student.part_of(name)
            for name, value in student.named_parameters()
            if value.grad is not None and value.grad.any()
        }
        assert touched == moved


def test_27_rows_of_patches_fill_14_of_tokens_by_area() -> None:
    states = torch.arange(27.0 * 27).reshape(1, -1, 1)
    shares = overlaps(27, 14)
    assert shares.sum(1).sub(1).abs().max() < 1e-6
    pooled = at_token_grid(states, 14)[0, ..., 0]
    # The first cell holds one row and 13/14 of the next; states grow by 27 a row, 1 a column.
    middle = (0 * 14 + 1 * 13) / 27
    assert pooled[0, 0].item() == pytest.approx(28 * middle, abs=1e-3)
    assert at_token_grid(states, 27)[0, ..., 0].flatten().tolist() == list(range(27 * 27))
