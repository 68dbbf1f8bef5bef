"""Words, encodings, object features and the choice among candidates."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from threedrs_components.students.batches import stack_frames
from threedrs_components.students.grounding_head import GroundingHead
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import word_tokenizer
from threedrs_components.students.object_features import object_features, pooled
from threedrs_components.students.position3d import SineEncoding, voxel_steps
from threedrs_components.students.settings import MicroWidths
from threedrs_components.students.tokenizer import GROUND, MICRO_CHAT, StudentTokenizer
from threedrs_components.testing.synthetic import random_scene, random_student
from threedrs_platform.errors import CheckpointError


@pytest.fixture
def words() -> StudentTokenizer:
    texts = ["a red lamp in the north east.", "what color is the lamp?"]
    return word_tokenizer(texts, MICRO_CHAT)


def test_an_answer_ends_with_the_end_mark_and_ground_does_not(words: StudentTokenizer) -> None:
    text = words.encode("what color is the lamp?", "red")
    assert text.ids[-1] == words.end_id
    assert text.is_answer == (False,) * (len(text.ids) - 2) + (True, True)
    assert words.encode("the lamp", GROUND).ids[-1] == words.ground_id


def test_decoding_undoes_encoding_up_to_the_end(words: StudentTokenizer) -> None:
    encoded = words.encode("where", "A red lamp in the north east.")
    answer = [i for i, own in zip(encoded.ids, encoded.is_answer, strict=True) if own]
    assert words.decode([*answer, *answer]) == "a red lamp in the north east."


def test_an_unknown_word_is_one_unknown_token(words: StudentTokenizer) -> None:
    known, unknown = words.encode("red lamp", None), words.encode("red elephant", None)
    assert len(known.ids) == len(unknown.ids)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"chat\.json: cannot be read: No such file"):
        StudentTokenizer.load(tmp_path)


def test_the_released_encoding_turns_a_voxel_into_a_radian() -> None:
    encoded = SineEncoding()(torch.tensor([-15.0, -14.9, 0.0]), 14)
    assert encoded[:2].tolist() == [0.0, 1.0]
    assert encoded[4].item() == pytest.approx(math.sin(1.0))
    assert encoded[5].item() == pytest.approx(math.cos(1.0))
    assert encoded[6].item() == pytest.approx(math.sin(1.0 / 10_000 ** (2 / 4)))
    assert encoded[8].item() == pytest.approx(math.sin(50.0), abs=1e-5)
    assert encoded[12:].tolist() == [0.0, 0.0]


def test_coordinates_are_encoded_in_float32_and_clamped() -> None:
    sine = SineEncoding()
    half = sine(torch.tensor([1.03, 2.0, 0.5], dtype=torch.bfloat16).float(), 12)
    assert half.dtype == torch.float32
    far = sine(torch.tensor([99.0, -99.0, 99.0]), 12)
    assert torch.equal(far, sine(torch.tensor([15.0, -15.0, 5.0]), 12))


def test_every_coordinate_falls_into_its_own_tenth_of_a_metre() -> None:
    """In bfloat16 one in four would fall into a neighbour's."""
    expected = torch.arange(101.0)
    coordinates = (expected * 0.1 - 5.0 + 0.03)[:, None].expand(-1, 3)
    found = voxel_steps(coordinates, 0.1)
    assert torch.equal(found[:, 2], expected.clamp(max=100))
    assert torch.equal(found[:, :2], (expected + 100)[:, None].expand(-1, 2))


def test_a_candidate_pools_its_tokens_by_weight() -> None:
    tokens = torch.arange(4.0).reshape(1, 2, 2, 1)
    weights = torch.tensor([[[[1.0, 0.0], [0.0, 3.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert pooled(weights, tokens).tolist() == [[9 / 4], [0.0]]


def test_branches_are_averaged_and_the_centre_belongs_to_the_visual_one() -> None:
    features, encoding = torch.ones(1, 2), torch.tensor([[4.0, 0.0]])
    assert object_features(features, None, encoding).tolist() == [[1.0, 1.0]]
    assert object_features(None, features, encoding).tolist() == [[5.0, 1.0]]
    assert object_features(features, features, encoding).tolist() == [[3.0, 1.0]]


def test_scores_are_cosines_with_no_object_last() -> None:
    torch.manual_seed(0)
    head = GroundingHead(8)
    candidates = head.objects(torch.randn(2, 3, 8))
    scores = head(torch.randn(5, 8), candidates, torch.tensor([0, 0, 1, 1, 0]))
    assert scores.shape == (5, 4)
    assert scores.abs().max() <= 1.00001
    # Two rows of one product: BLAS may round them apart.
    torch.testing.assert_close(candidates[0, -1], candidates[1, -1])


def test_scores_are_not_rounded_under_autocast() -> None:
    """At temperature 0.07 a rounded cosine moves a logit by a twentieth."""
    torch.manual_seed(0)
    head = GroundingHead(64)
    candidates = head.objects(torch.randn(1, 20, 64))
    with torch.autocast("cpu", torch.bfloat16):
        scores = head(torch.randn(1, 64), candidates, torch.tensor([0]))
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_a_cell_without_depth_gets_no_encoding() -> None:
    student = random_student(position_encoding=True)
    plain = random_student()
    scene = random_scene("scene", 0)
    scene.counts[0, 0, 0] = 0
    frames = stack_frames([scene])
    vision = student.vision(frames.images)
    encoded, bare = student.prefix(frames, vision), plain.prefix(frames, vision)
    assert torch.equal(encoded[0, 1], bare[0, 1])
    assert not torch.equal(encoded[0, 2], bare[0, 2])
    newline = 1 + student.grid
    assert torch.equal(encoded[0, newline], bare[0, newline])


def test_the_same_seed_gives_the_same_student() -> None:
    one, two, other = random_student(1), random_student(1), random_student(2)
    weight = "model.model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.equal(one.state_dict()[weight], two.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])


def test_initial_deviations_follow_the_fan_in() -> None:
    state = random_student().state_dict()
    up = state["model.model.language_model.layers.0.mlp.up_proj.weight"]
    down = state["model.model.language_model.layers.0.mlp.down_proj.weight"]
    assert up.std().item() == pytest.approx(1 / math.sqrt(48), rel=0.05)
    assert down.std().item() == pytest.approx(0.5 / math.sqrt(96), rel=0.05)
    words = state["model.model.language_model.embed_tokens.weight"]
    assert words.std().item() == pytest.approx(0.5, rel=0.1)


def test_configurations_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="needs checkpoint"):
        LlavaVideoConfig(size="7b")
    with pytest.raises(ValueError, match="multiple of 2"):
        MicroWidths(image_size=72, patch_size=16)
