"""Qwen3-VL: what happens to tokens happens to their maps, and states are the next layer's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.students.batches import (
    SceneBatch,
    collate,
    object_candidates,
    stack_frames,
    training_question,
)
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.passes import Frames
from threedrs_components.students.published_shapes import OTHERS, PUBLISHED
from threedrs_components.students.qwen3_vl.config import Qwen3VLStudentConfig
from threedrs_components.students.qwen3_vl.model import Qwen3VL
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.sizes import StudentSize, TextSize, student_size
from threedrs_components.students.start import check_start
from threedrs_components.students.student import Student
from threedrs_components.testing.student_checkpoints import publish
from threedrs_components.testing.synthetic import (
    random_alignment,
    random_samples,
    random_scene,
    random_student,
    task_objectives,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule
from threedrs_components.training.parameter_groups import parameter_groups
from threedrs_components.training.strategies import Replicated, World
from threedrs_platform.errors import CheckpointError

MAPS = "deepstack_merger_list"
LAYERS = (0, 1, 2, 3, -2, -3, -4)
"""All of the tiny checkpoint's four but the last, from the front and from the back."""


def three_maps(folder: Path, **choices: Any) -> Qwen3VL:
    """The tiny checkpoint: three maps, four layers, in float64."""
    config, _ = publish("qwen3_vl/Qwen", folder / "weights")
    student = build_student(config.model_copy(update=choices), "float64").eval()
    assert isinstance(student, Qwen3VL)
    return student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Qwen3VL:
    return three_maps(tmp_path_factory.mktemp("published"), position_encoding=True)


def batch_of(student: Student, chosen: list[list[int]]) -> SceneBatch:
    """Scenes with some of three questions each."""
    sizes = {"grid": student.grid, "image_size": student.image_size}
    scenes = [random_scene(f"scene{index}", index, **sizes) for index in range(len(chosen))]
    asked = [
        [
            training_question(sample, scene, student.tokenizer)
            for row, sample in enumerate(random_samples(scene, 3, 1))
            if row in rows
        ]
        for scene, rows in zip(scenes, chosen, strict=True)
    ]
    return collate(scenes, asked, [object_candidates(scene) for scene in scenes], student.tokenizer)


def frames_of(student: Student, num_frames: int = 3) -> Frames:
    sizes = {"grid": student.grid, "image_size": student.image_size}
    return stack_frames([random_scene("scene", 0, num_frames=num_frames, **sizes)])


@torch.no_grad()
def test_recorded_states_are_what_the_next_layer_gets(student: Qwen3VL) -> None:
    received: list[Tensor] = []
    layers = student.model.model.language_model.layers
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
        for layer in layers
    ]
    batch = batch_of(student, [[0, 1], [2]])
    order = torch.tensor([[1, 0], [0, 1]])
    frames = replace(batch.frames, order=order)
    hidden = student(frames, batch.layout, batch.ids, batch.regions, LAYERS).hidden
    prefill = student.prefill(replace(frames_of(student), order=torch.tensor([[2, 0, 1]])), LAYERS)
    for hook in hooks:
        hook.remove()
    assert len(received) == 2 * len(layers) == 8
    for layer in LAYERS:
        flat = received[layer % 5][0, : 2 * batch.layout.prefix].reshape(2, -1, student.width)
        assert torch.equal(hidden[layer], student._visual_states(flat, frames)), layer
        alone = student._visual_states(
            received[4 + layer % 5],
            replace(frames_of(student), order=torch.tensor([[2, 0, 1]])),
        )
        assert torch.equal(prefill.output.hidden[layer], alone), layer


def questions(student: Student, batch: SceneBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """States of the questions, and the gradients of a sum of all states in random directions."""
    student.zero_grad()
    output = student(batch.frames, batch.layout, batch.ids, batch.regions, (-1, 2))
    weights = torch.linspace(-1, 1, student.width, dtype=student.dtype)
    # Of each question the same amount, however they are packed.
    (output.states.sin() @ weights).sum().backward()
    found = {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in student.named_parameters()
        if each.requires_grad
    }
    return output.states.detach(), found


def test_questions_of_several_scenes_are_exactly_what_each_is_alone(tmp_path: Path) -> None:
    student = three_maps(tmp_path, frozen=(), position_encoding=True)
    rows = [[0, 1], [2]]
    states, together = questions(student, batch_of(student, rows))
    alone: list[Tensor] = []
    total = {name: torch.zeros_like(each) for name, each in together.items()}
    for scene, chosen in enumerate(rows):
        for row in chosen:
            only = [[row] if other == scene else [] for other in range(scene + 1)]
            found, gradients = questions(student, batch_of(student, only))
            alone.append(found)
            total = {name: total[name] + gradients[name] for name in total}
    # Norms and rotary angles of Qwen3-VL compute in float32 whatever the weights are.
    torch.testing.assert_close(states, torch.cat(alone), rtol=1e-5, atol=1e-6)
    scale = max(each.abs().max() for each in total.values())
    for name, gradient in total.items():
        assert (together[name] - gradient).abs().max() <= 1e-5 * scale, name
        if MAPS in name or "merger" in name:
            assert gradient.abs().max() > 0, name


@torch.no_grad()
def test_an_order_is_that_of_permuted_frames(student: Qwen3VL) -> None:
    frames = frames_of(student)
    order = torch.tensor([[2, 0, 1]])
    permuted = frames.mapped(lambda each: each[:, order[0]])
    ordered = student.prefill(replace(frames, order=order), (-1, 2)).output.hidden
    moved = student.prefill(permuted, (-1, 2)).output.hidden
    plain = student.prefill(frames, (-1,)).output.hidden
    for layer in (-1, 2):
        torch.testing.assert_close(ordered[layer][:, order[0]], moved[layer], rtol=0, atol=1e-6)
    assert (plain[-1] - ordered[-1]).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("dropped", range(3))
def test_every_map_is_read(dropped: int, student: Qwen3VL) -> None:
    frames = frames_of(student)
    vision = student.vision(frames.images)
    assert vision is not None and len(vision.maps) == 3
    without = tuple(
        torch.zeros_like(each) if k == dropped else each for k, each in enumerate(vision.maps)
    )
    seen = []
    for each in (vision, replace(vision, maps=without)):
        prefix = student.prefix(frames, each)
        added = student.added_inside(frames, each, prefix.shape[1])
        positions = student.prefix_positions(3)[:, None]
        seen.append(student._language(prefix, (-1,), position_ids=positions, **added)[-1])
    scale = seen[0].abs().mean()
    assert (seen[0] - seen[1]).abs().max() > 0.05 * scale


@torch.no_grad()
def test_a_frame_is_the_same_alone_and_the_tower_looks_once_per_pass(student: Qwen3VL) -> None:
    images = frames_of(student).images
    calls: list[int] = []
    hook = student.model.model.visual.register_forward_hook(lambda *_: calls.append(1))
    whole = student.vision(images)
    student.prefill(frames_of(student))
    batch = batch_of(student, [[0], [1]])
    student(batch.frames, batch.layout, batch.ids, batch.regions)
    hook.remove()
    assert len(calls) == 3
    alone = student.vision(images[:, 1:2])
    assert whole is not None and alone is not None
    torch.testing.assert_close(alone.tokens, whole.tokens[:, 1:2], rtol=0, atol=1e-9)
    for one, other in zip(alone.maps, whole.maps, strict=True):
        torch.testing.assert_close(one, other[:, 1:2], rtol=0, atol=1e-9)


@torch.no_grad()
def test_a_blind_student_has_no_map_either() -> None:
    student = random_student(kind="qwen3_vl", blind=True).eval()
    batch = batch_of(student, [[0, 1]])
    blind = collate(
        [random_scene("scene0", 0)],
        [[training_question(s, random_scene("scene0", 0), student.tokenizer)
          for s in random_samples(random_scene("scene0", 0), 2, 1)]],
        [object_candidates(random_scene("scene0", 0))],
        student.tokenizer,
        blind=True,
    )  # fmt: skip
    elsewhere = replace(blind.frames, images=255 - blind.frames.images)
    states = [
        student(each, blind.layout, blind.ids, blind.regions).states
        for each in (blind.frames, elsewhere)
    ]
    assert torch.equal(*states)
    assert student.added_inside(batch.frames, None, 10) == {}


@torch.no_grad()
def test_places_may_be_told_to_the_maps_as_well(tmp_path: Path) -> None:
    told = three_maps(tmp_path / "a", position_encoding=True)
    twice = three_maps(
        tmp_path / "b", position_encoding=True, position_encoding_at="tokens_and_maps"
    )
    frames, layers = frames_of(told), (-1, 0, 1)
    one, other = (each.prefill(frames, layers).output.hidden for each in (told, twice))
    assert torch.equal(one[0], other[0])
    encoding = told.sine(frames.coordinates, told.width).to(told.dtype)
    torch.testing.assert_close(other[1] - one[1], encoding, rtol=0, atol=1e-6)
    assert (one[-1] - other[-1]).abs().max() > 1e-3
    chosen = told.config.identity()
    assert chosen["position_encoding_at"] == "tokens"
    assert chosen != twice.config.identity()
    assert "position_encoding_at" not in STUDENTS["qwen2_vl"].model_fields


def test_a_start_does_not_depend_on_what_is_chosen_for_training() -> None:
    chosen = Qwen3VLStudentConfig(
        position_encoding=True, position_encoding_at="tokens_and_maps", deepstack_mergers="vision"
    )
    assert chosen.start() == Qwen3VLStudentConfig()


def test_mergers_learn_with_the_projector_or_stay_with_the_tower() -> None:
    ours, qwens = (
        random_student(kind="qwen3_vl", deepstack_mergers=part) for part in ("projector", "vision")
    )
    learning = {
        student: [name for name, each in student.named_parameters() if each.requires_grad]
        for student in (ours, qwens)
    }
    assert {name for name in learning[ours] if "visual" in name} == {
        name for name, _ in ours.named_parameters() if "merger" in name
    }
    assert not any(MAPS in name for name in learning[qwens])
    assert sum("visual.merger" in name for name in learning[qwens]) == 6
    groups = {
        group.name: len(group.parameters)
        for group in parameter_groups(
            TrainingModule(random_student(kind="qwen3_vl", frozen=()), []), TrainingConfig()
        )
    }
    assert groups["projector"] == 6 * 3


def test_mergers_that_a_loss_does_not_reach_stop_no_update(tmp_path: Path) -> None:
    """At layer 2 the states hold the first two maps; the third merger has no gradient."""
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights")
    student = build_student(config).train()
    head = AlignmentConfig(layers=(2,), initialisation="fan_in")
    module = TrainingModule(
        student, [*task_objectives(student), random_alignment(student, head, 8)]
    )
    training = TrainingConfig(learning_rate=1e-2)
    strategy = Replicated(module, parameter_groups(module, training), training, World())
    batch = batch_of(student, [[]])
    torch.manual_seed(0)
    target = torch.randn(1, 2, student.grid, student.grid, 8)
    before = {name: each.clone() for name, each in student.named_parameters()}
    strategy.accumulate(MicroBatch(batch, {head.name: target}), Totals(1, 1), is_last=True)
    with_gradient = {
        int(name.split(f"{MAPS}.")[1][0])
        for name, each in student.named_parameters()
        if MAPS in name and each.grad is not None and each.grad.abs().sum() > 0
    }
    assert with_gradient == {0, 1}
    strategy.update(1.0)
    moved = {
        name for name, each in student.named_parameters() if not torch.equal(each, before[name])
    }
    assert any("visual.merger" in name for name in moved)
    assert any(f"{MAPS}.1" in name for name in moved)
    assert not any(f"{MAPS}.2" in name for name in moved)


FULL_SIZE = {
    "2b": (2_127_532_032, 626, 25.2, 75.5),
    "4b": (4_437_815_808, 714, 27.3, 81.8),
    "8b": (8_767_123_696, 750, 40.1, 120.4),
}
"""Parameters, names of tensors, and millions of parameters of merger and DeepStack's mergers."""


def on_meta(size: str) -> Any:
    text, tower = OTHERS.get(("qwen3_vl", size), PUBLISHED["qwen3_vl"])
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}
    config = Qwen3VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={**tower, "out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    with torch.device("meta"):
        return Qwen3VLForConditionalGeneration(config)


@pytest.mark.parametrize("size", FULL_SIZE)
def test_published_sizes_have_their_parameters_and_names(size: str) -> None:
    parameters, tensors, merger, mergers = FULL_SIZE[size]
    model = on_meta(size)
    table = model.get_input_embeddings().weight
    assert (model.get_output_embeddings().weight is table) == (size != "8b")
    counts = {name: each.numel() for name, each in model.named_parameters()}
    assert (sum(counts.values()), len(model.state_dict())) == (parameters, tensors)
    found = {
        part: sum(count for name, count in counts.items() if part in name) / 1e6
        for part in ("visual.merger", MAPS)
    }
    assert found == {"visual.merger": pytest.approx(merger, abs=0.05),
                     MAPS: pytest.approx(mergers, abs=0.05)}  # fmt: skip
    chosen = {"kind": "qwen3_vl", "size": size, "checkpoint": "/absent"}
    ours = planned(**chosen)
    assert ours.parameters == parameters
    assert ours.text.parameters == sum(
        count for name, count in counts.items() if "visual" not in name
    )
    assert ours.projector == sum(count for name, count in counts.items() if "merger" in name)
    qwens = planned(**chosen, deepstack_mergers="vision")
    assert qwens.parameters == parameters
    assert ours.projector - qwens.projector == sum(
        count for name, count in counts.items() if MAPS in name
    )


def planned(**chosen: Any) -> StudentSize:
    size = student_size(STUDENTS.read(chosen))
    assert size is not None
    return size


def test_a_checkpoint_and_micro_widths_tell_their_own_sizes(tmp_path: Path) -> None:
    for tied in (False, True):
        config, _ = publish("qwen3_vl/Qwen", tmp_path / str(tied), tied=tied)
        model = build_student(config).model
        size = student_size(config)
        assert size is not None and size.source == "config.json of its checkpoint"
        assert size.parameters == sum(each.numel() for each in model.parameters())
    micro = random_student(kind="qwen3_vl")
    size = planned(**micro.config.model_dump())
    words = replace(size.text, vocabulary=len(micro.tokenizer))
    assert isinstance(words, TextSize)
    assert replace(size, text=words).parameters == sum(
        each.numel() for each in micro.model.parameters()
    )


@pytest.mark.parametrize(("chosen", "grid"), [({}, 14), ({"frame_size": 384}, 12)])
def test_a_token_is_32_pixels_of_a_frame(chosen: dict[str, int], grid: int) -> None:
    config = Qwen3VLStudentConfig.model_validate({"size": "2b", "checkpoint": "-", **chosen})
    assert (config.image_size, config.covered, config.grid) == (32 * grid, 32 * grid, grid)


def test_smaller_frames_are_seen_through_a_resampled_table(tmp_path: Path) -> None:
    student = three_maps(tmp_path, frame_size=384)
    assert (student.grid, student.image_size) == (12, 96)
    with torch.no_grad():
        states = student.prefill(frames_of(student, 2)).output.hidden[-1]
    assert states.shape == (1, 2, 12, 12, student.width) and states.isfinite().all()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"frame_size": 392}, "frame_size 392: .* 32 x 32 pixels; take 384 or 416"),
        ({"position_encoding_at": "tokens_and_maps"}, "says nothing without position_encoding"),
        ({"system": "Be brief.", "size": "micro"}, "micro student has no system turn"),
        ({"size": "7b"}, "qwen3_vl comes in sizes micro, 2b, 4b, 8b"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_cure(
    choices: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Qwen3VLStudentConfig(**{"size": "2b", "checkpoint": "weights", **choices})


def test_a_system_turn_is_a_choice_that_stays_with_the_weights(tmp_path: Path) -> None:
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights")
    plain = build_student(config)
    told = build_student(config.model_copy(update={"system": "lamp"}))
    assert plain.tokenizer.chat.header == "<|im_start|>user\n"
    assert told.tokenizer.chat.header == "<|im_start|>system\nlamp<|im_end|>\n<|im_start|>user\n"
    save_student(told, tmp_path / "saved")
    assert load_student(tmp_path / "saved", told.config).tokenizer.header == told.tokenizer.header
    with pytest.raises(CheckpointError, match="made with system: 'lamp', not ''; set it so"):
        check_start(plain.config, tmp_path / "saved")
    with pytest.raises(CheckpointError, match="made with system: 'lamp', not ''; set it so"):
        load_student(tmp_path / "saved", plain.config)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl"])
def test_weights_of_the_family_are_told_apart_by_headers(kind: str, tmp_path: Path) -> None:
    for layout, asked in (("qwen3_vl/Qwen", kind), (f"{kind}/Qwen", "qwen3_vl")):
        folder = tmp_path / asked
        publish(layout, folder)
        size = [*STUDENTS[asked].real_layers][-1]
        config = STUDENTS.read({"kind": asked, "size": size, "checkpoint": str(folder)})
        given = layout.removesuffix("/Qwen")
        with pytest.raises(CheckpointError, match=f"type is '{given}'; expected '{asked}' .Qwen/"):
            check_start(config, folder)


def test_mixtures_of_experts_are_refused_by_name(tmp_path: Path) -> None:
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights")
    path = tmp_path / "weights/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "qwen3_vl_moe"}))
    with pytest.raises(CheckpointError, match="'qwen3_vl_moe', a mixture of experts; take a dense"):
        check_start(config, tmp_path / "weights")


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a map of a block that is none": (
        {"vision_config": {"deepstack_visual_indexes": [0, 1, 77]}},
        r"deepstack_visual_indexes is \[0, 1, 77\] of",
    ),
    "no maps": ({"vision_config": {"deepstack_visual_indexes": None}}, "have 3 mergers of maps"),
    "no language": ({"text_config": None}, "text_config"),
    "no tower": ({"vision_config": None}, "vision_config"),
    "eight bits": ({"quantization_config": {"quant_method": "fp8"}}, "the weights are quantised"),
}


@pytest.mark.parametrize("lie", LIES)
def test_configurations_of_other_weights_are_refused(lie: str, tmp_path: Path) -> None:
    publish("qwen3_vl/Qwen", tmp_path / "weights")
    path = tmp_path / "weights/config.json"
    stored, (changes, said) = json.loads(path.read_text()), LIES[lie]
    for part, change in changes.items():
        stored[part] = stored.get(part, {}) | change if change else change
    path.write_text(json.dumps(stored))
    config = STUDENTS.read({"kind": "qwen3_vl", "size": "8b", "checkpoint": str(path.parent)})
    with pytest.raises(CheckpointError, match=f"config.json: .*{said}"):
        check_start(config, path.parent)
