"""Answers on a shared cache are those of separate full passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from threedrs_components.benchmarks.asking import Asking
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.batches import (
    Question,
    collate,
    proposal_candidates,
    region_of,
)
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import GROUND, Encoded
from threedrs_components.testing.synthetic import random_samples, random_scene, random_student
from threedrs_components.training.prediction import chunks, predict_benchmarks, predict_scene
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample


def alone(student: Student, scene: PreparedScene, sample: Sample, steps: int) -> list[int]:
    """Greedy decoding that runs the whole sequence anew for every token."""
    candidates = proposal_candidates(scene)
    encoded, decoded = student.tokenizer.encode(sample.prompt, None), list[int]()
    for _ in range(steps):
        ids = (*encoded.ids, *decoded)
        question = Question(
            replace(sample, kind="text"),
            Encoded(ids, (False,) * (len(ids) - 1) + (True,)),
            region_of(sample, candidates),
        )
        batch = collate([scene], [[question]], [candidates], student.tokenizer)
        with torch.no_grad():
            out = student(batch.frames, batch.layout, batch.ids, batch.regions)
        token = int(student.logits(out.states[-1:]).argmax())
        decoded.append(token)
        if token == student.tokenizer.end_id:
            break
    return decoded


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "position encoding"])
def test_decoding_on_one_cache_equals_decoding_alone(encoded: bool) -> None:
    student = random_student(position_encoding=encoded).eval()
    scene = random_scene("scene", 4)
    samples = random_samples(scene, 9, 2)
    predictions = predict_scene(student, scene, samples, max_new_tokens=6)
    assert [p.sample_id for p in predictions] == [s.sample_id for s in samples]
    for sample, prediction in zip(samples, predictions, strict=True):
        if sample.kind == "text":
            expected = student.tokenizer.decode(alone(student, scene, sample, 6))
            assert prediction.text == expected


@pytest.mark.parametrize("most_tokens", [1, 40], ids=["one by one", "some together"])
def test_questions_in_chunks_get_the_answers_of_one_pass(most_tokens: int) -> None:
    student = random_student(object_features="both", position_encoding=True).eval()
    scene = random_scene("scene", 4)
    samples = random_samples(scene, 12, 2)
    together = predict_scene(student, scene, samples, max_new_tokens=6)
    apart = predict_scene(student, scene, samples, max_new_tokens=6, most_tokens=most_tokens)
    assert [each.text for each in apart] == [each.text for each in together]
    for one, other in zip(apart, together, strict=True):
        assert one.boxes == other.boxes
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


def test_a_student_in_half_precision_answers_in_chunks() -> None:
    student = random_student(object_features="both", position_encoding=True).eval()
    scene = random_scene("scene", 4)
    samples = random_samples(scene, 9, 2)
    exact = predict_scene(student, scene, samples, 4)
    rounded = predict_scene(student.bfloat16(), scene, samples, 4, most_tokens=40)
    for one, other in zip(rounded, exact, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=0.03)
        assert one.scores != other.scores or one.text is not None


def test_chunks_hold_answers_too() -> None:
    student = random_student()
    questions = [
        Question(sample, student.tokenizer.encode(sample.prompt, None))
        for sample in random_samples(random_scene("scene", 4), 9, 2)
    ]
    found = list(chunks(questions, max_new_tokens=6, most_tokens=40))
    assert [each for chunk in found for each in chunk] == questions
    assert len(found) > 2
    for chunk in found:
        answers = 6 * sum(each.sample.kind == "text" for each in chunk)
        assert answers + sum(len(each.encoded.ids) for each in chunk) <= 40
    assert [len(chunk) for chunk in chunks(questions, 6, most_tokens=1)] == [1] * 9


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Elements of the largest tensor that was made."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.numel())
        return made


def test_ten_times_the_questions_make_no_larger_tensor() -> None:
    student = random_student().eval()
    scene = random_scene("scene", 4)
    largest = {}
    for count, most_tokens in ((24, 200), (240, 200), (240, 10**6)):
        with LargestTensor() as mode:  # type: ignore[no-untyped-call]
            samples = random_samples(scene, count, 2)
            predict_scene(student, scene, samples, max_new_tokens=4, most_tokens=most_tokens)
        largest[count, most_tokens] = mode.elements
    assert largest[240, 200] <= 1.1 * largest[24, 200] < largest[240, 10**6] / 3


def test_grounding_scores_are_those_of_one_full_pass() -> None:
    student = random_student(object_features="both").eval()
    scene = random_scene("scene", 4)
    samples = [s for s in random_samples(scene, 9, 2) if s.kind == "ground"]
    predictions = predict_scene(student, scene, samples)
    candidates = proposal_candidates(scene)
    questions = [Question(s, student.tokenizer.encode(s.prompt, GROUND)) for s in samples]
    batch = collate([scene], [questions], [candidates], student.tokenizer)
    with torch.no_grad():
        out = student(batch.frames, batch.layout, batch.ids, batch.regions)
        features = student.object_features(batch.candidate_weights, batch.candidate_boxes, out)
        scores = student.grounding(
            out.states[batch.ground_tokens],
            student.grounding.objects(features),
            batch.ground_scenes,
        )
    for prediction, row in zip(predictions, scores, strict=True):
        assert len(prediction.scores) == len(prediction.boxes) + 1 == 5
        torch.testing.assert_close(torch.tensor(prediction.scores), row)


def test_a_caption_without_a_box_is_empty() -> None:
    student = random_student().eval()
    scene = random_scene("scene", 0)
    caption = replace(random_samples(scene, 3, 0)[1], box_input=None)
    assert predict_scene(student, scene, [caption])[0].text == ""


def test_a_caption_without_a_box_is_empty_however_it_is_worded() -> None:
    student = random_student().eval()
    scene = random_scene("scene", 0)
    question = random_samples(scene, 3, 0)[2]
    about_an_object = replace(question, target_boxes=(tuple(scene.boxes[0].tolist()),))
    answered, unasked = predict_scene(
        student, scene, [question, replace(about_an_object, sample_id="unasked")]
    )
    assert answered.text and unasked.text == ""


def test_a_blind_student_answers_without_seeing() -> None:
    student = random_student(blind=True).eval()
    samples = random_samples(random_scene("scene", 0), 6, 0)
    one = predict_scene(student, random_scene("scene", 0), samples)
    other = predict_scene(
        student,
        replace(
            random_scene("scene", 5),
            boxes=random_scene("scene", 0).boxes,
            proposals=random_scene("scene", 0).proposals,
        ),
        samples,
    )
    assert one == other


def test_each_benchmark_is_asked_in_its_own_way_and_answers_keep_their_order() -> None:
    student = random_student(position_encoding=True).eval()
    scene = random_scene("scene", 4)
    words = [s for s in random_samples(scene, 12, 2) if s.prompt.startswith("where")]
    samples = [replace(s, benchmark=("long", "short")[i % 2]) for i, s in enumerate(words)]
    asking = {"long": Asking(max_new_tokens=9), "short": Asking(max_new_tokens=2)}
    found = predict_benchmarks(student, scene, samples, asking)
    assert [each.sample_id for each in found] == [each.sample_id for each in samples]
    for sample, prediction in zip(samples, found, strict=True):
        steps = asking[sample.benchmark].max_new_tokens
        expected = student.tokenizer.decode(alone(student, scene, sample, steps))
        assert prediction.text == expected


def test_frames_only_hides_where_things_are() -> None:
    student = random_student(position_encoding=True).eval()
    scene = random_scene("scene", 4)
    samples = [s for s in random_samples(scene, 9, 2) if s.kind == "ground"]
    elsewhere = replace(scene, coordinates=scene.coordinates + 1.0)
    with_encoding = [predict_scene(student, each, samples) for each in (scene, elsewhere)]
    assert with_encoding[0] != with_encoding[1]
    without = [
        predict_scene(student, each, samples, frames_only=True) for each in (scene, elsewhere)
    ]
    assert without[0] == without[1] != with_encoding[0]


def test_without_proposals_grounding_is_refused_and_questions_are_answered() -> None:
    student = random_student().eval()
    scene = replace(random_scene("attic", 4, proposals=0), has_proposals=False)
    samples = random_samples(scene, 3, 2)
    with pytest.raises(DataError, match=r"scene attic: no proposals.*benchmarks\.candidates"):
        predict_scene(student, scene, samples[:1])
    with pytest.raises(DataError, match="scene attic: no proposals"):
        predict_scene(student, scene, samples[1:2])
    assert predict_scene(student, scene, samples[2:])[0].text is not None


def test_an_empty_list_of_proposals_is_an_answer() -> None:
    student = random_student().eval()
    scene = random_scene("scene", 4, proposals=0)
    assert len(predict_scene(student, scene, random_samples(scene, 1, 2))[0].scores) == 1


def test_the_oracle_chooses_among_true_boxes() -> None:
    student = random_student().eval()
    scene = replace(random_scene("scene", 4), has_proposals=False)
    found = predict_scene(student, scene, random_samples(scene, 1, 2), candidates="ground_truth")
    assert found[0].boxes == tuple(tuple(box) for box in scene.boxes.tolist())
