"""Questions packed behind one prefix give what separate samples give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.modeling_outputs import BaseModelOutputWithPooling

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.text import TextConfig
from threedrs_components.scenes.prepared import scene_pairs
from threedrs_components.students.batches import (
    collate,
    object_candidates,
    stack_frames,
    training_question,
)
from threedrs_components.students.passes import Frames
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import (
    random_alignment,
    random_samples,
    random_scene,
    random_student,
    task_objectives,
)
from threedrs_components.training.data import MicroBatch
from threedrs_components.training.objective import Totals, TrainingModule


def micro_batch(student: Student, scenes: int, questions: list[list[int]]) -> MicroBatch:
    prepared = [random_scene(f"scene{index}", index) for index in range(scenes)]
    asked = [
        [
            training_question(sample, scene, student.tokenizer)
            for sample in random_samples(scene, 9, 1)
        ]
        for scene in prepared
    ]
    chosen = [[asked[scene][row] for row in rows] for scene, rows in enumerate(questions)]
    batch = collate(
        prepared,
        chosen,
        [object_candidates(scene) for scene in prepared],
        student.tokenizer,
        student.config.blind,
    )
    torch.manual_seed(3)
    return MicroBatch(batch, {"alignment": torch.randn(scenes, 2, 4, 4, 24)})


def question_mask(prefix: int, lengths: Sequence[int]) -> Tensor:
    """[n, prefix + n] bool: the whole prefix, and causally the token's own question."""
    question = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths).long())
    total = len(question)
    own = (question[:, None] == question[None, :]) & torch.ones(total, total).tril().bool()
    return torch.cat([torch.ones(total, prefix, dtype=torch.bool), own], dim=1)


def gradients(module: TrainingModule) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in module.named_parameters()
    }


def aligned(student: Student) -> TrainingModule:
    settings = AlignmentConfig(layers=(-1, -2), initialisation="fan_in")
    head = random_alignment(student, settings, 24)
    return TrainingModule(student, [*task_objectives(student), head])


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"object_features": "both", "position_encoding": True, "coord_input": "encoding"},
        {"gradient_checkpointing": True, "object_features": "vision"},
    ],
    ids=["plain", "encoded", "checkpointed"],
)
def test_loss_and_gradients_equal_the_sum_of_separate_samples(choices: dict[str, Any]) -> None:
    student = random_student(**choices).train()
    module = aligned(student)
    rows = [[0, 1, 2, 5, 7], [3, 4, 6, 8]]
    packed, _ = module(micro_batch(student, 2, rows), Totals(questions=1, scenes=2))
    packed.backward()
    together = gradients(module)
    module.zero_grad()
    total = 0.0
    for scene, chosen in enumerate(rows):
        for row in chosen:
            alone = micro_batch(student, 2, [[row] if s == scene else [] for s in range(2)])
            # Alignment of both scenes is counted once over all separate samples.
            loss, _ = module(
                alone if (scene, row) == (0, 0) else replace(alone, targets={}),
                Totals(questions=1, scenes=2),
            )
            loss.backward()
            total += float(loss.detach())
    assert float(packed.detach()) == pytest.approx(total, rel=1e-5)
    for name, gradient in gradients(module).items():
        torch.testing.assert_close(together[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_autocast_gives_the_loss_in_half_precision() -> None:
    student = random_student(object_features="both").train()
    module = TrainingModule(student, task_objectives(student))
    micro = replace(micro_batch(student, 2, [[0, 1, 2], [3, 4]]), targets={})
    exact, _ = module(micro, Totals(5, 2))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = module(micro, Totals(5, 2))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.02)
    assert loss.detach() != exact.detach()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(module).values())


def test_a_packed_batch_equals_transformers_with_a_4d_mask() -> None:
    student = random_student().eval()
    micro = micro_batch(student, 1, [[0, 1, 2]])
    batch = micro.batch
    out = student(batch.frames, batch.layout, batch.ids, batch.regions, (-1, -2))
    vision = student.vision(batch.frames.images)
    embedded = torch.cat(
        [
            student.prefix(batch.frames, vision)[0],
            student.embed_questions(batch.ids, batch.regions, vision),
        ]
    )[None]
    prefix = batch.layout.prefix
    mask = torch.zeros(1, 1, embedded.shape[1], embedded.shape[1], dtype=torch.bool)
    mask[..., :prefix, :prefix] = torch.ones(prefix, prefix).tril().bool()
    mask[..., prefix:, :] = question_mask(prefix, batch.layout.lengths[0])
    language = student.model.model.language_model
    language.set_attn_implementation("eager")
    expected = language(
        inputs_embeds=embedded,
        attention_mask={"full_attention": torch.where(mask, 0.0, torch.finfo().min)},
        position_ids=batch.layout.positions,
        output_hidden_states=True,
    )
    torch.testing.assert_close(out.states, expected.last_hidden_state[0, prefix:])
    side = student.grid
    visual = expected.hidden_states[-2][:, 1:prefix].reshape(1, 2, side, side + 1, student.width)
    torch.testing.assert_close(out.hidden[-2], visual[:, :, :, :side])


def test_the_visual_prefix_equals_the_transformers_route_with_encoder_outputs() -> None:
    student = random_student(position_encoding=True).eval()
    scene = random_scene("scene", 0)
    frames = stack_frames([scene])
    vision = student.vision(frames.images)
    prefix = student.prefix(frames, vision)
    ids = torch.tensor([*student.tokenizer.header] + [student.tokenizer.visual_id] * 40)[None]
    visual = prefix[:, 1:]
    expected = student.model.model(
        input_ids=ids,
        mm_encoder_outputs={"video": BaseModelOutputWithPooling(pooler_output=visual)},
    ).last_hidden_state
    side = student.grid
    expected = expected[:, 1:].reshape(1, 2, side, side + 1, -1)[:, :, :, :side]
    torch.testing.assert_close(student.prefill(frames).output.hidden[-1], expected)


def test_text_loss_of_a_batch_is_the_sum_over_its_questions() -> None:
    student = random_student().eval()
    module = TrainingModule(student, [TextConfig(weight=1.0).build(student)])
    micro = replace(micro_batch(student, 1, [[1, 2, 4]]), targets={})
    loss, _ = module(micro, Totals(questions=3, scenes=1))
    batch = micro.batch
    out = student(batch.frames, batch.layout, batch.ids, batch.regions)
    expected = 0.0
    for weight in set(batch.answer_weights.tolist()):
        mine = batch.answer_weights == weight
        number = float(mine.sum() * weight)
        logits = student.logits(out.states[batch.answer_tokens[mine]])
        expected += float(cross_entropy(logits, batch.answer_ids[mine]).detach()) * number
    assert float(loss.detach()) == pytest.approx(expected / 3, rel=1e-5)


def test_the_correspondence_loss_reaches_the_student() -> None:
    student = random_student()
    config = CorrespondenceConfig(weight=1.0, voxel_m=1.0)
    module = TrainingModule(student, [config.build(student)])
    micro = micro_batch(student, 1, [[]])
    pairs = (scene_pairs(random_scene("scene0", 0), level="token", voxel_m=1.0),)
    loss, parts = module(MicroBatch(micro.batch, {"correspondence": pairs}), Totals(1, 1))
    loss.backward()
    assert parts["loss/correspondence"] == pytest.approx(float(loss.detach()))
    assert student.model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rows", [[0, 3], [1, 2], [0, 1, 2]], ids=["ground", "text", "both"])
def test_sharded_workers_run_the_same_modules_whatever_they_are_asked(rows: list[int]) -> None:
    """They gather the weights of each module together; one that skips it leaves them waiting."""
    student = random_student().train()
    module = aligned(student)
    expected, _ = module(micro_batch(student, 1, [rows]), Totals(len(rows), 1))
    module.runs_every_head = True
    ran: list[str] = []
    for name, part in module.named_modules():
        if next(part.parameters(recurse=False), None) is not None:
            part.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    loss, _ = module(micro_batch(student, 1, [rows]), Totals(len(rows), 1))
    loss.backward()
    torch.testing.assert_close(loss, expected)
    heads = [name for name in ran if name.startswith(("student.grounding.", "heads."))]
    objects, query = (f"student.grounding.{name}_projection" for name in ("object", "query"))
    assert heads[:6] == [f"{each}.{layer}" for each in (objects, query) for layer in (0, 2, 3)]
    assert heads[6:] == [
        f"heads.alignment.head.projectors.{i}.{n}" for i in (0, 1) for n in LINEARS
    ]
    assert ran.index("student.model.lm_head") < ran.index(f"{objects}.0")
    trainable = [name for name, value in module.named_parameters() if value.requires_grad]
    assert [name for name in trainable if gradient_of(module, name) is None] == []


LINEARS = ("widen", "project")


def gradient_of(module: TrainingModule, name: str) -> Tensor | None:
    return module.get_parameter(name).grad


def test_positions_restart_behind_the_prefix_for_every_question() -> None:
    layout = PrefixLayout(prefix=3, lengths=((2, 1), (2,)))
    assert layout.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 3, 3, 4]]
    packing = layout.packing(torch.device("cpu"))
    assert packing.by_scene.places.tolist() == [0, 1, 2, 3, 4]
    assert packing.by_question.places.tolist() == [0, 1, 2, 4, 5]


def test_a_blind_student_has_only_the_header_as_prefix() -> None:
    student = random_student(blind=True)
    module = TrainingModule(student, task_objectives(student))
    micro = replace(micro_batch(student, 2, [[0, 1, 2], [3]]), targets={})
    assert micro.batch.layout.prefix == 1
    loss, _ = module(micro, Totals(4, 2))
    loss.backward()
    assert student.model.model.multi_modal_projector.linear_1.weight.grad is None


def test_frames_in_another_order_are_a_scene_with_its_frames_reordered() -> None:
    student = random_student(position_encoding=True).eval()
    module = aligned(student)
    micro = micro_batch(student, 1, [[0, 1, 2, 4]])
    order = torch.tensor([1, 0])
    shown = replace(micro.batch.frames, order=order[None])
    loss, _ = module(replace(micro, batch=replace(micro.batch, frames=shown)), Totals(4, 1))
    frames, regions = micro.batch.frames, micro.batch.regions
    moved = replace(
        micro.batch,
        frames=Frames(frames.images[:, order], frames.coordinates[:, order], frames.counts),
        regions=replace(regions, weights=regions.weights[:, order]),
        candidate_weights=micro.batch.candidate_weights[:, :, order],
    )
    targets = {"alignment": micro.targets["alignment"][:, order]}
    expected, _ = module(MicroBatch(moved, targets), Totals(4, 1))
    torch.testing.assert_close(loss, expected)
    unmoved, _ = module(micro, Totals(4, 1))
    assert not torch.isclose(loss, unmoved)
