"""A teacher's features beside the frames: every kind of student reads them, always or never."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from threedrs_components.students.batches import (
    SceneBatch,
    collate,
    object_candidates,
    stack_frames,
    training_question,
)
from threedrs_components.students.checkpoints import load_student, save_student, student_features
from threedrs_components.students.export import write_pretrained
from threedrs_components.students.fusion import Fusion
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.guidance import Guidance, guidance_of
from threedrs_components.students.passes import Vision
from threedrs_components.students.registry import STUDENTS, open_student
from threedrs_components.students.student import Student
from threedrs_components.teachers.map_choices import Control
from threedrs_components.testing.synthetic import (
    random_samples,
    random_scene,
    random_student,
    task_objectives,
    write_random_features,
)
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.prediction import Continuation, predict_scene
from threedrs_platform.errors import CheckpointError, ConfigError, DataError

WIDTH = 24
SOURCE = {"teacher": "fake", "layer": -1}
MODES = ("add", "cross_attention")


def fused_student(kind: str = "llava_video", mode: str = "add", gate: str = "zero") -> Student:
    student = random_student(kind=kind, position_encoding=True, object_features="both").eval()
    torch.manual_seed(1)
    settings = FusionSettings.model_validate({"mode": mode, "gate": gate})
    student.fuse(settings, WIDTH, SOURCE)
    return student


def batch_of(student: Student, guided: bool = True) -> SceneBatch:
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    asked = [
        training_question(sample, scene, student.tokenizer)
        for sample in random_samples(scene, 3, 1)
    ]
    batch = collate([scene], [asked], [object_candidates(scene)], student.tokenizer)
    if not guided:
        return batch
    return replace(batch, frames=replace(batch.frames, guidance=guidance()))


def guidance(seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 2, 4, 4, WIDTH, generator=generator).half()


def states(student: Student, batch: SceneBatch) -> Tensor:
    with torch.no_grad():
        found: Tensor = student(batch.frames, batch.layout, batch.ids, batch.regions).states
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_gate_at_zero_leaves_every_bit_as_it_was(kind: str, mode: str) -> None:
    student = random_student(kind=kind, position_encoding=True, object_features="both").eval()
    before = states(student, batch_of(student, guided=False))
    fused = fused_student(kind, mode)
    assert torch.equal(states(fused, batch_of(fused)), before)
    open_gate = fused_student(kind, mode, "none")
    assert not torch.allclose(states(open_gate, batch_of(open_gate)), before, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", STUDENTS)
def test_the_cache_goes_on_as_the_whole_pass_would(kind: str, mode: str) -> None:
    student = fused_student(kind, mode, "none")
    batch = batch_of(student)
    with torch.no_grad():
        cached = Continuation(student, student.prefill(batch.frames), batch).states
    torch.testing.assert_close(cached, states(student, batch), rtol=1e-4, atol=1e-5)


def gradients(student: Student) -> dict[str, bool]:
    module = TrainingModule(student.train(), task_objectives(student))
    loss, _ = module(MicroBatch(batch_of(student)), Totals(3, 1))
    loss.backward()
    assert student.fusion is not None
    return {
        name: parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for name, parameter in student.fusion.named_parameters()
        # A bias of keys shifts all scores of a softmax alike; it is a third of this one.
    }


@pytest.mark.parametrize("mode", MODES)
def test_every_weight_of_fusion_learns_and_behind_a_closed_gate_the_gate_first(mode: str) -> None:
    moved = gradients(fused_student(mode=mode, gate="none"))
    assert all(moved.values()) and "gate" not in moved
    closed = gradients(fused_student(mode=mode, gate="zero"))
    assert [name for name, moves in closed.items() if moves] == ["gate"]
    assert fused_student().part_of("fusion.gate") == "heads"


@pytest.mark.parametrize("mode", MODES)
def test_fusion_is_saved_and_read_back_bit_by_bit(mode: str, tmp_path: Path) -> None:
    student = fused_student(mode=mode, gate="none")
    save_student(student, tmp_path / "saved")
    loaded = open_student(tmp_path / "saved")
    assert loaded.state_dict().keys() == student.state_dict().keys()
    assert torch.equal(states(loaded, batch_of(loaded)), states(student, batch_of(student)))
    assert loaded.fusion is not None and student.fusion is not None
    assert loaded.fusion.stored() == student.fusion.stored()
    narrow = load_student(tmp_path / "saved", loaded.config, "bfloat16")
    assert {value.dtype for value in narrow.parameters()} == {torch.bfloat16}
    assert states(narrow, batch_of(narrow)).isfinite().all()
    with pytest.raises(CheckpointError, match="fusion"):
        write_pretrained(tmp_path / "saved", tmp_path / "transformers")


def test_a_student_without_fusion_is_written_as_ever(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()).keys() == {"kind", "student", "model"}


def test_without_features_it_answers_nothing() -> None:
    student = fused_student()
    scene = random_scene("scene", 0)
    with pytest.raises(DataError, match="answers nothing without them; give the features"):
        predict_scene(student, scene, random_samples(scene, 3, 0))
    with pytest.raises(ConfigError, match="in evaluation as in training"):
        guidance_of(student, None)
    assert guidance_of(random_student(), None)(scene) is None


def test_object_features_and_regions_read_tokens_without_it() -> None:
    student = fused_student(gate="none")
    batch = batch_of(student)
    with torch.no_grad():
        output = student.prefill(batch.frames).output
        alone = student.vision(batch.frames.images)
    assert output.vision is not None and alone is not None
    assert torch.equal(output.vision.tokens, alone.tokens)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "b", "c", "d")):
        write_random_features(random_scene(name, number), tmp_path / "features", WIDTH, number)
    return tmp_path / "features"


def guided(folder: Path, control: Control) -> Guidance:
    return Guidance(folder, FusionSettings(mode="add", control=control))


def test_the_control_gives_every_scene_the_maps_of_one_other(folder: Path) -> None:
    scenes = {name: random_scene(name, number) for number, name in enumerate("abcd")}
    own = {name: guided(folder, "none").of(scene) for name, scene in scenes.items()}
    other = {name: guided(folder, "other_scene").of(scene) for name, scene in scenes.items()}
    # Half the list further on: neighbours in it are scans of one room.
    for name, partner in {"a": "c", "b": "d", "c": "a", "d": "b"}.items():
        assert (other[name] == own[partner]).all()
        assert (other[name] != own[name]).any()
    longer = random_scene("a", 0, num_frames=3)
    with pytest.raises(DataError, match="has 2 frames and not 3"):
        guided(folder, "other_scene").of(longer)
    for name in ("b", "c", "d"):
        (folder / f"{name}.arrow").unlink()
    with pytest.raises(DataError, match="needs features of two scenes"):
        guided(folder, "other_scene").of(scenes["a"])


def test_features_of_another_extraction_are_refused(folder: Path) -> None:
    scene = random_scene("a", 0)
    student = random_student().eval()
    width, source = guided(folder, "none").check({"a": scene}, ["a"])
    student.fuse(FusionSettings(mode="add"), width, source)
    read = guidance_of(student, folder)
    maps = read(scene)
    assert maps is not None and maps.shape == (2, 4, 4, WIDTH)
    found = student_features(student, scene.frame_batch(), scene.coordinates, guidance=maps)
    assert found.shape == (2, 4, 4, student.width)
    write_random_features(scene, folder.parent / "wider", 2 * WIDTH, 0)
    with pytest.raises(CheckpointError, match="width 24, not 48; give it those"):
        guidance_of(student, folder.parent / "wider")(scene)
    with pytest.raises(CheckpointError, match="has learned with another fusion"):
        student.fuse(FusionSettings(mode="cross_attention"), width, source)
    before = student.fusion
    student.fuse(FusionSettings(mode="add"), width, source)
    assert student.fusion is before


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    settings = FusionSettings(mode="cross_attention", heads=5)
    with pytest.raises(ConfigError, match="5 heads do not divide the student's width 48"):
        random_student().fuse(settings, WIDTH, SOURCE)


def vision_of(student: Student, **hidden: Any) -> Vision:
    frames = stack_frames([random_scene("scene", 0)])
    found = student.look(replace(frames, **hidden))
    assert found is not None
    return found


@torch.no_grad()
@pytest.mark.parametrize("mode", ["add", "cross_attention"])
@pytest.mark.parametrize(
    ("tokens", "features", "complaint"),
    [
        ((1, 2, 4, 4, 8), (1, 2, 4, 4, 5), r"give \[1, 2, 4, 4, 6\]: of the same frames and grid"),
        ((1, 2, 4, 4, 8), (1, 2, 3, 3, 6), r"of \[1, 2, 4, 4, 8\]; give \[1, 2, 4, 4, 6\]"),
        ((1, 2, 4, 4, 8), (2, 4, 4, 6), r"features of shape \[2, 4, 4, 6\]"),
        ((2, 4, 4, 8), (2, 4, 4, 6), r"takes \[scenes, frames, rows, columns, 8\]"),
    ],
)
def test_other_shapes_are_refused(
    mode: str, tokens: tuple[int, ...], features: tuple[int, ...], complaint: str
) -> None:
    settings = FusionSettings.model_validate({"mode": mode})
    fusion = Fusion(settings, width=8, teacher_width=6, source={})
    assert fusion(torch.rand(1, 2, 4, 4, 8), torch.rand(1, 2, 4, 4, 6)).shape == (1, 2, 4, 4, 8)
    with pytest.raises(DataError, match=complaint):
        fusion(torch.rand(tokens), torch.rand(features))


def test_a_hidden_frame_shows_neither_tokens_nor_maps_nor_features() -> None:
    student = fused_student(gate="none")
    hidden, stand_in = torch.tensor([[True, False]]), torch.full((student.width,), 7.0)
    seen = vision_of(student)
    with_maps = Vision(seen.tokens, (seen.tokens,), seen.tokens).without(hidden, stand_in)
    for tokens, value in ((with_maps.tokens, 7), (with_maps.maps[0], 0), (with_maps.patches, 7)):
        assert tokens is not None
        assert (tokens[0, 0] == value).all() and torch.equal(tokens[0, 1], seen.tokens[0, 1])
    batch = batch_of(student)
    frames = replace(batch.frames, hidden=hidden, stand_in=stand_in)
    before = student.prefill(frames).output.hidden[-1]
    images, features = frames.images.clone(), frames.guidance
    assert features is not None
    images[0, 0] ^= 255
    other = replace(
        frames, images=images, guidance=torch.cat([-features[:, :1], features[:, 1:]], 1)
    )
    assert torch.equal(student.prefill(other).output.hidden[-1], before)
    shown = replace(other, hidden=None)
    assert not torch.allclose(student.prefill(shown).output.hidden[-1], before, atol=1e-3)


@pytest.mark.parametrize("gate", ["zero", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_its_weights_are_counted_without_building_it(mode: str, gate: str) -> None:
    student = fused_student(mode=mode, gate=gate)
    assert student.fusion is not None
    counted = student.fusion.settings.parameters(student.width, WIDTH)
    assert counted == sum(each.numel() for each in student.fusion.parameters())
