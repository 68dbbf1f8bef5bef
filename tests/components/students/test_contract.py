"""The exam of every kind of student: the registry lists them, so a newcomer sits it untold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.students.batches import (
    SceneBatch,
    collate,
    object_candidates,
    training_question,
)
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student, student_features
from threedrs_components.students.export import write_pretrained
from threedrs_components.students.registry import STUDENTS, open_student
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.testing.student_checkpoints import LAYOUTS, publish
from threedrs_components.testing.synthetic import (
    random_alignment,
    random_samples,
    random_scene,
    random_student,
    task_objectives,
)
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.prediction import Continuation, predict_scene
from threedrs_platform.config.kinds import choose
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.records import Sample

EXAMINED = [*STUDENTS, *LAYOUTS]
"""Every kind in micro widths, and as a tiny checkpoint in each layout that it is published in."""


@pytest.fixture(scope="module", params=EXAMINED)
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Student:
    """A student with positions and both branches of object features, in evaluation mode."""
    choices: dict[str, Any] = {"position_encoding": True, "object_features": "both"}
    if request.param in STUDENTS:
        return random_student(kind=request.param, **choices).eval()
    config, _ = publish(request.param, tmp_path_factory.mktemp("published") / "weights")
    return build_student(config.model_copy(update=choices)).eval()


def batch_of(student: Student, questions: slice = slice(3)) -> SceneBatch:
    """One scene with some of three questions."""
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    asked = [
        training_question(sample, scene, student.tokenizer)
        for sample in random_samples(scene, 3, 1)[questions]
    ]
    return collate([scene], [asked], [object_candidates(scene)], student.tokenizer)


def test_configurations_are_read_without_torch() -> None:
    modules = sorted({STUDENTS.module(kind) for kind in STUDENTS})
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_step_that_is_told_the_module_finds_the_kind(kind: str) -> None:
    config = STUDENTS.read({"kind": kind, "checkpoint": "somewhere"})
    assert config.kind == kind
    assert choose(config).open(StudentSettings) == config
    assert "checkpoint" not in choose(config).settings
    assert all(type(config).published.values())


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_kind_reaches_no_other_kind_and_nothing_that_trains_or_lists_it(kind: str) -> None:
    own, students = STUDENTS.module(kind), "threedrs_components.students"
    reached = set(CodeIndex().modules(f"{students}.checkpoints:load_student", (own,)))
    unread = {f"{students}.{name}" for name in ("registry", "micro_weights", "published_weights")}
    assert not reached & unread
    assert not reached & ({STUDENTS.module(other) for other in STUDENTS} - {own})
    assert not [name for name in reached if "pretraining" in name or "testing" in name]


def test_states_of_chosen_layers_lie_frame_by_frame_and_row_by_row(student: Student) -> None:
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    last, before = (
        student_features(student, scene.frame_batch(), scene.coordinates, layer)
        for layer in (-1, -2)
    )
    assert last.shape == before.shape == (2, student.grid, student.grid, student.width)
    assert last.isfinite().all()
    assert not torch.equal(last, before)


def test_tower_states_lie_row_by_row(student: Student) -> None:
    """A pixel changed in one patch changes that patch's state most."""
    images = random_scene("scene", 0, image_size=student.image_size).images[:1]
    changed = images.clone()
    side, patch = student.image_size // student.patch_size, student.patch_size
    row, column = 1, side - 2
    changed[0, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] ^= 255
    with torch.no_grad():
        difference = (student.patch_states(changed) - student.patch_states(images))[0].norm(dim=-1)
    assert difference.shape == (side * side,)
    assert student.patch_states(images).shape[-1] == student.vision_width
    assert int(difference.argmax()) == row * side + column


@torch.no_grad()
def test_questions_behind_one_prefix_are_what_each_is_alone(student: Student) -> None:
    def states(batch: SceneBatch) -> Tensor:
        found: Tensor = student(batch.frames, batch.layout, batch.ids, batch.regions).states
        return found

    together = states(batch_of(student))
    alone = [states(batch_of(student, slice(row, row + 1))) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_any_number_of_frames_without_a_place_is_seen_and_asked(
    frames: int, student: Student
) -> None:
    sizes = {"grid": student.grid, "image_size": student.image_size, "num_frames": frames}
    scene = random_scene("scene", 0, objects=0, proposals=0, **sizes)
    scene = replace(scene, counts=torch.zeros_like(scene.counts), has_proposals=False)
    sample = Sample("q", "spar", "scene", "text", "where is red", answers=("near lamp",))
    asked = [training_question(sample, scene, student.tokenizer)]
    batch = collate([scene], [asked], [object_candidates(scene)], student.tokenizer)
    output = student(batch.frames, batch.layout, batch.ids, batch.regions)
    assert output.hidden[-1].shape[:4] == (1, frames, student.grid, student.grid)
    assert output.states.isfinite().all()
    elsewhere = replace(scene, coordinates=scene.coordinates + 3)
    told = [predict_scene(student, each, [sample], 3) for each in (scene, elsewhere)]
    assert told[0] == told[1] and told[0][0].text is not None


@torch.no_grad()
def test_the_cache_goes_on_as_the_whole_pass_would(student: Student) -> None:
    batch = batch_of(student)
    whole = student(batch.frames, batch.layout, batch.ids, batch.regions)
    states = Continuation(student, student.prefill(batch.frames), batch).states
    torch.testing.assert_close(states, whole.states, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_every_candidate_has_a_feature_of_both_branches(student: Student) -> None:
    batch = batch_of(student)
    output = student.prefill(batch.frames).output
    both = student.object_features(batch.candidate_weights, batch.candidate_boxes, output)
    assert both.shape == (1, 3, student.width)
    states, seen = output.hidden[-1], output.vision
    assert seen is not None and seen.tokens.shape == states.shape
    weights = batch.candidate_weights[0, 1] / batch.candidate_weights[0, 1].sum()
    pooled = (weights[..., None] * (states[0] + seen.tokens[0])).sum((0, 1, 2))
    expected = (pooled + student.sine(batch.candidate_boxes[0, 1, :3], student.width)) / 2
    torch.testing.assert_close(both[0, 1], expected, rtol=1e-4, atol=1e-5)


def test_a_student_read_back_is_the_same_bit_by_bit(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "saved")
    loaded = open_student(tmp_path / "saved")
    weights = loaded.state_dict()
    assert weights.keys() == student.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in student.state_dict().items())
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    before, after = (
        student_features(each, scene.frame_batch(), scene.coordinates, layer=-2)
        for each in (student, loaded)
    )
    assert torch.equal(before, after)
    assert loaded.tokenizer.encode("red lamp", None) == student.tokenizer.encode("red lamp", None)
    samples = random_samples(scene, 3, 0)
    answers = predict_scene(student, scene, samples)
    assert answers == predict_scene(loaded, scene, samples)
    assert len(answers[0].scores) == 5


@pytest.mark.parametrize("kind", STUDENTS)
def test_transformers_loads_a_students_language_model(kind: str, tmp_path: Path) -> None:
    student = random_student(kind=kind)
    save_student(student, tmp_path / "student")
    write_pretrained(tmp_path / "student", tmp_path / "transformers")
    loaded, info = type(student.model).from_pretrained(
        tmp_path / "transformers", output_loading_info=True
    )
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    wanted = student.model.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("kind", STUDENTS)
def test_parts_cover_the_model_without_overlap(kind: str) -> None:
    student = random_student(kind=kind)
    sizes = {part: len(student.parameters_of(part)) for part in ("vision", "projector")}
    assert min(sizes.values()) > 0
    parts = {student.part_of(name) for name, _ in student.named_parameters()}
    assert parts == {"vision", "projector", "language", "heads"}
    assert student.part_of("grounding.no_object") == "heads"
    assert student.part_of("model.lm_head.weight") == "language"


def gradients(student: Student, num_questions: int) -> dict[str, bool]:
    """Whether each trainable parameter moves, after one pass backwards."""
    alignment = AlignmentConfig(layers=(-1, -2), initialisation="fan_in")
    student.train()
    objectives = [*task_objectives(student), random_alignment(student, alignment, 24)]
    module = TrainingModule(student, objectives)
    scene = random_scene("scene", 0)
    asked = [
        training_question(sample, scene, student.tokenizer)
        for sample in random_samples(scene, num_questions, 1)
    ]
    batch = collate([scene], [asked], [object_candidates(scene)], student.tokenizer)
    torch.manual_seed(0)
    teacher = torch.randn(1, 2, 4, 4, 24)
    loss, _ = module(MicroBatch(batch, {alignment.name: teacher}), Totals(max(num_questions, 1), 1))
    loss.backward()
    return {
        name: parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for name, parameter in student.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize("kind", STUDENTS)
def test_gradient_checkpointing_is_no_part_of_the_identity_and_changes_no_gradient(
    kind: str,
) -> None:
    kept, computed_twice = (
        random_student(kind=kind, frozen=(), gradient_checkpointing=on) for on in (False, True)
    )
    assert kept.config != computed_twice.config
    assert kept.config.identity() == computed_twice.config.identity()
    for student in (kept, computed_twice):
        torch.manual_seed(0)
        gradients(student, num_questions=3)
    again = dict(computed_twice.named_parameters())
    for name, parameter in kept.named_parameters():
        torch.testing.assert_close(again[name].grad, parameter.grad, msg=name)


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_alignment_loss_reaches_the_vision_tower(kind: str) -> None:
    student = random_student(kind=kind, frozen=())
    moved = gradients(student, num_questions=0)
    tower = [name for name in moved if student.part_of(name) == "vision"]
    # A bias of keys shifts all scores of a softmax alike.
    assert len(tower) > 10
    assert [name for name in tower if not moved[name] and "k_proj.bias" not in name] == []
    assert not moved["model.lm_head.weight"]


@pytest.mark.parametrize("kind", STUDENTS)
def test_every_trainable_parameter_takes_part(kind: str) -> None:
    """Else distributed training would wait for gradients that never come."""
    moved = gradients(random_student(kind=kind, frozen=(), object_features="both"), 9)
    assert [name for name, moves in moved.items() if not moves and "k_proj.bias" not in name] == []
