"""What is right for a question, as tensors of a batch."""

from __future__ import annotations

from dataclasses import replace

import torch

from threedrs_components.students.batches import (
    SceneBatch,
    collate,
    object_candidates,
    training_question,
)
from threedrs_components.testing.synthetic import random_samples, random_scene, random_student
from threedrs_platform.records import Sample


def batch_of(*targets: tuple[int, ...]) -> SceneBatch:
    """One grounding question per scene; scene 0 has two objects, scene 1 has three, and so on."""
    tokenizer = random_student().tokenizer
    scenes = [random_scene(f"s{i}", i, objects=2 + i) for i in range(len(targets))]
    asked: list[Sample] = [
        replace(random_samples(scene, 1, 0)[0], target_ids=wanted)
        for scene, wanted in zip(scenes, targets, strict=True)
    ]
    questions = [
        [training_question(sample, scene, tokenizer)]
        for sample, scene in zip(asked, scenes, strict=True)
    ]
    return collate(scenes, questions, [object_candidates(scene) for scene in scenes], tokenizer)


def test_without_a_target_the_last_slot_is_right_also_where_candidates_are_padded() -> None:
    batch = batch_of((), ())
    assert batch.positives.tolist() == [[False, False, False, True]] * 2
    assert batch.present.tolist() == [[True, True, False, True], [True] * 4]


def test_every_target_is_right_and_no_object_is_not() -> None:
    batch = batch_of((11,), (12, 10))
    assert batch.positives.tolist() == [[False, True, False, False], [True, False, True, False]]


def test_learned_tokens_of_a_question_weigh_one_together() -> None:
    student, scene = random_student(), random_scene("scene", 0)
    samples = [sample for sample in random_samples(scene, 9, 0) if sample.kind == "text"]
    questions = [training_question(sample, scene, student.tokenizer) for sample in samples]
    batch = collate([scene], [questions], [object_candidates(scene)], student.tokenizer)
    assert torch.isclose(batch.answer_weights.sum(), torch.tensor(float(len(samples))))
    assert torch.equal(batch.ids[batch.answer_tokens + 1], batch.answer_ids)
    assert (batch.answer_ids == student.tokenizer.end_id).sum() == len(samples)


def test_a_divisor_takes_the_place_of_the_number_of_learned_tokens() -> None:
    student, scene = random_student(), random_scene("scene", 0)
    sample = next(each for each in random_samples(scene, 9, 0) if each.kind == "text")
    question = training_question(
        sample, scene, student.tokenizer, lambda encoded: replace(encoded, divisor=20)
    )
    batch = collate([scene], [[question]], [object_candidates(scene)], student.tokenizer)
    assert set(batch.answer_weights.tolist()) == {torch.tensor(1 / 20).item()}
