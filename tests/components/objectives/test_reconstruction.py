"""Frames that the student does not see, and what it tells of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from threedrs_components.objectives.reconstruction.config import ReconstructionConfig
from threedrs_components.objectives.reconstruction.decoders import TIMES, noised
from threedrs_components.objectives.reconstruction.objective import Reconstruction
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.batches import collate, object_candidates
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import random_scene, random_student
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_platform.errors import ConfigError, DataError

FRAMES = 4
SHUFFLED = ("none", "shuffled_frames")


def seeded_with(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(student: Student, **settings: object) -> Reconstruction:
    torch.manual_seed(0)
    return Reconstruction(ReconstructionConfig.model_validate({"weight": 1, **settings}), student)


def micro(scene: PreparedScene, student: Student, objective: Reconstruction) -> MicroBatch:
    batch = collate([scene], [[]], [object_candidates(scene)], student.tokenizer)
    hidden = torch.tensor([objective.hides(0, "visit", FRAMES)])
    frames = replace(batch.frames, hidden=hidden if hidden.numel() else None)
    name, target = objective.name, objective.target(scene)
    targets = {name: objective.collate([target])} if target is not None else {}
    return MicroBatch(replace(batch, frames=frames), targets, seeds=(7,))


def loss(objective: Reconstruction, student: Student, scene: PreparedScene) -> Tensor:
    module = TrainingModule(student, [objective])
    found: Tensor = module(micro(scene, student, objective), Totals(1, 1))[0]
    return found


def scene_of(seed: int = 0) -> PreparedScene:
    return random_scene("scene", seed, num_frames=FRAMES)


def seen_from_above(side: int, seed: int = 0) -> PreparedScene:
    """A scene with a noise picture of which a third was not seen."""
    chance = seeded_with(seed)
    picture = torch.randint(0, 256, (side, side, 4), generator=chance).to(torch.uint8)
    seen = torch.rand(side, side, generator=chance) > 1 / 3
    picture[..., 3] = torch.where(seen, 255, 0)
    return replace(scene_of(), birds_eye=torch.where(seen[..., None], picture, 0))


def test_a_share_of_the_frames_is_hidden_in_every_nth_step_and_drawn_anew() -> None:
    objective = built(random_student(), ratio=0.25, every=3)
    steps = [objective.hides(step, "visit", 8) for step in range(6)]
    assert [sum(hidden) for hidden in steps] == [2, 0, 0, 2, 0, 0]
    assert objective.hides(0, "visit", 8) == steps[0]
    assert len({objective.hides(0, f"visit {number}", 8) for number in range(20)}) > 10
    assert [sum(objective.hides(0, "visit", frames)) for frames in (1, 2, 3)] == [0, 1, 1]
    assert sum(built(random_student(), ratio=0.99).hides(0, "visit", 4)) == 3


@pytest.mark.parametrize("birds_eye", [None, 3])
@pytest.mark.parametrize("decoder", ["denoiser", "regression"])
@pytest.mark.parametrize("condition", ["own", "pooled"])
def test_every_weight_takes_part_and_is_counted(
    decoder: str, condition: str, birds_eye: int | None
) -> None:
    student = random_student(frozen=())
    objective = built(student, decoder=decoder, condition=condition, birds_eye=birds_eye)
    torch.autograd.backward(loss(objective, student, seen_from_above(24)))
    named = dict(objective.named_parameters())
    assert [name for name, each in named.items() if each.grad is None or not each.grad.any()] == []
    counted = objective.settings.parameters(student.width, student.grid**2)
    assert counted == sum(each.numel() for each in named.values())
    assert any(each.grad is not None and each.grad.any() for each in student.parameters())


def test_hidden_pixels_reach_the_loss_as_a_target_alone() -> None:
    """The student's states do not know them, and the states of what is seen are what is asked."""
    student = random_student(position_encoding=True)
    objective, scene = built(student, decoder="regression"), scene_of()
    hidden = torch.tensor(objective.hides(0, "visit", FRAMES))
    before = loss(objective, student, scene)
    images = scene.images.clone()
    images[hidden] = 255 - images[hidden]
    other = replace(scene, images=images)
    batch, changed = (micro(each, student, objective).batch for each in (scene, other))
    with torch.no_grad():
        states = [
            student.prefill(objective.seen(each.frames)).output.hidden[-1]
            for each in (batch, changed)
        ]
    assert torch.equal(*states)
    assert not torch.isclose(loss(objective, student, other), before)


def test_pixels_of_a_cell_are_those_that_its_token_sees() -> None:
    student = random_student()
    objective, images = built(student), torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    images[0, 16:32, 48:64] = 255
    pixels = objective.pixels(images)
    assert pixels.shape == (1, 16, 192)
    assert [cell for cell in range(16) if (pixels[0, cell] == 1).all()] == [1 * 4 + 3]
    assert (pixels == -1).sum() == 15 * 192
    images[0, 0, 0, 2] = 255
    changed = objective.pixels(images)[0, 0].view(3, 8, 8)
    assert (changed > -1).nonzero().tolist() == [[2, 0, 0]]


def test_the_control_asks_for_another_frame() -> None:
    student = random_student()
    honest, control = (built(student, decoder="regression", control=name) for name in SHUFFLED)
    alike = replace(scene_of(), images=scene_of().images[:1].repeat(FRAMES, 1, 1, 1))
    assert torch.equal(loss(honest, student, alike), loss(control, student, alike))
    apart = scene_of()
    assert not torch.equal(loss(honest, student, apart), loss(control, student, apart))


def test_noise_covers_everything_in_the_end_and_hardly_anything_at_first() -> None:
    pixels, noise = torch.full((2, 1, 1), 3.0), torch.full((2, 1, 1), -1.0)
    first, last = noised(pixels, noise, torch.tensor([0, TIMES - 1])).flatten().tolist()
    assert first == pytest.approx(3, abs=0.01) and last == pytest.approx(-1, abs=0.01)


def test_a_denoiser_learns_to_tell_pixels_behind_noise() -> None:
    """Behind a fixed state: what it can know, it learns to tell."""
    student = random_student()
    objective, scene = built(student, draws=16), scene_of()
    batch = micro(scene, student, objective)
    with torch.no_grad():
        output = student(
            objective.seen(batch.batch.frames),
            batch.batch.layout,
            batch.batch.ids,
            batch.batch.regions,
        )
    flat = replace(scene, images=torch.full_like(scene.images, 200))
    images = flat.images
    hidden = batch.batch.frames.hidden
    assert hidden is not None
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    errors = []
    for step in range(60):
        frames = replace(batch.batch.frames, images=images[None])
        error = objective._error(objective._conditions(output.hidden[-1]), frames, hidden, (step,))
        optimizer.zero_grad()
        torch.autograd.backward(error)
        optimizer.step()
        errors.append(float(error.detach()))
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="5 heads do not divide the decoder's width 48"):
        built(random_student(), heads=5)


def slow_loss_from_above(
    objective: Reconstruction, states: Tensor, picture: Tensor, seed: int
) -> Tensor:
    """Cell by cell, pixel by pixel, of states [F, P, P, C] that are all seen: regression alone."""
    assert objective.above is not None
    known = [objective.enter(objective.norm(state)) for state in states.flatten(0, 2)]
    asked, _ = objective.above(torch.stack(known))
    errors = []
    for cell, condition in enumerate(asked):
        told = objective.decoder(condition)
        for row in range(8):
            for column in range(8):
                pixel = picture[cell // 2 * 8 + row, cell % 2 * 8 + column]
                for channel in range(3) if pixel[3] else ():
                    value = told[channel * 64 + row * 8 + column]
                    errors.append((value - (pixel[channel] / 127.5 - 1)) ** 2)
    return torch.stack(errors).mean()


def test_the_room_from_above_is_told_as_a_slow_loop_tells_it() -> None:
    """Value and gradient, in a step that hides no frame."""
    student, scene = random_student(), seen_from_above(16)
    objective = built(student, decoder="regression", birds_eye=2, every=0)
    batch = micro(scene, student, objective)
    assert batch.batch.frames.hidden is None
    fast = loss(objective, student, scene)
    weights = [each for each in objective.parameters() if each.requires_grad]
    with torch.no_grad():
        states = student.prefill(batch.batch.frames).output.hidden[-1][0]
    assert scene.birds_eye is not None
    slow = slow_loss_from_above(objective, states, scene.birds_eye, 7)
    torch.testing.assert_close(fast, slow)
    found = torch.autograd.grad(fast, weights)
    wanted = torch.autograd.grad(slow, weights, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        expected = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("condition", ["own", "pooled"])
def test_no_frame_is_decoded_where_none_is_hidden_unless_all_modules_must_run(
    condition: str,
) -> None:
    """The loss and every weight's gradient are the same; a weight without one would stand still."""
    student, scene = random_student(), seen_from_above(16)
    objective = built(student, condition=condition, birds_eye=2, every=0)
    batch, module = micro(scene, student, objective), TrainingModule(student, [objective])
    decoded: list[int] = []
    objective.decoder.register_forward_hook(lambda _, given, __: decoded.append(given[0].shape[1]))
    found = []
    for module.runs_every_head in (False, True):
        objective.zero_grad()
        total, _ = module(batch, Totals(1, 1))
        total.backward()
        found.append((total.detach(), {n: w.grad for n, w in objective.named_parameters()}))
    assert decoded == [4, student.grid**2, 4]  # from above; a frame, and from above
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert found[0][1]["stand_in.weight"] is not None


def test_what_was_not_seen_from_above_is_not_asked_for() -> None:
    student, scene = random_student(), seen_from_above(16)
    objective = built(student, birds_eye=2)
    assert scene.birds_eye is not None
    other = scene.birds_eye.clone()
    other[..., :3][other[..., 3] == 0] = 200
    same = loss(objective, student, replace(scene, birds_eye=other))
    assert torch.equal(same, loss(objective, student, scene))


def test_frames_are_told_alike_with_and_without_the_room_from_above() -> None:
    student, scene = random_student(), seen_from_above(16)
    alone, both = built(student), built(student, birds_eye=2)
    whole, parts = TrainingModule(student, [both])(micro(scene, student, both), Totals(1, 1))
    torch.testing.assert_close(
        whole - parts["reconstruction/birds_eye"], loss(alone, student, scene)
    )


def test_the_control_asks_for_other_places_in_the_room() -> None:
    student = random_student()
    settings = {"decoder": "regression", "birds_eye": 2, "every": 0}
    honest, control = (built(student, control=name, **settings) for name in SHUFFLED)
    for each in (honest, control):
        # As it is drawn, a decoder tells much the same of every cell.
        assert each.above is not None
        each.above.pool.forward = lambda seen: torch.eye(4, 48) * 30  # type: ignore[method-assign]
    cell = torch.cat([seen_from_above(8).birds_eye] * 2, 1)  # type: ignore[list-item]
    alike = replace(scene_of(), birds_eye=torch.cat([cell] * 2))
    torch.testing.assert_close(loss(honest, student, alike), loss(control, student, alike))
    apart = seen_from_above(16)
    assert not torch.isclose(loss(honest, student, apart), loss(control, student, apart))


def test_a_scene_without_a_picture_or_with_a_small_one_is_refused_with_the_cure() -> None:
    objective = built(random_student(), birds_eye=3)
    with pytest.raises(DataError, match=r"scene scene: .* prepare it again with prepare.birds_eye"):
        objective.target(scene_of())
    with pytest.raises(DataError, match=r"16 pixels a side, and 24 .* prepare.birds_eye: 24"):
        objective.target(seen_from_above(16))
    with pytest.raises(ValidationError, match="hides no frame, so birds_eye must be set"):
        ReconstructionConfig(weight=1, every=0)
