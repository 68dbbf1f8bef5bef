"""Students compute what their transformers models compute from pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from threedrs_components.students.batches import (
    collate,
    object_candidates,
    stack_frames,
)
from threedrs_components.students.pixels import clip_pixels
from threedrs_components.students.qwen2_vl.model import Qwen2VL, patch_rows
from threedrs_components.students.qwen3_vl.model import Qwen3VL
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import random_scene, random_student

WITH_PIXEL_ROUTE = ["llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_next_video"]
"""Kinds whose markup transformers can write; a newline after every row it cannot."""
QUESTION = (7, 9, 8, 12)


def sequence(student: Student, num_frames: int) -> Tensor:
    """Header, visual placeholders and markup, and a question, as transformers wants them: [1, n]"""
    words, side = student.tokenizer, student.grid
    row = [words.visual_id] * (side + (words.chat.newline == "row"))
    frame = [*words.frame_start, *row * side, *words.frame_end]
    end = [words.visual_id] * (words.chat.newline == "end")
    return torch.tensor([[*words.header, *frame * num_frames, *end, *QUESTION]])


def model_inputs(student: Student, images: Tensor) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What the model wants beside ids whatever the route, its pixels, and how it calls them."""
    if isinstance(student, Qwen2VL):
        processor: Any = Qwen2VLImageProcessorPil(
            patch_size=student.patch_size,
            do_resize=False,
            size={"shortest_edge": 1, "longest_edge": 10**6},
            **normalisation(student),
        )
        processed = processor(list(images.permute(0, 3, 1, 2).numpy()), return_tensors="pt")
        ids = sequence(student, len(images))
        shared = {
            "image_grid_thw": processed["image_grid_thw"],
            "mm_token_type_ids": (ids == student.tokenizer.visual_id).int(),
        }
        return shared, {"pixel_values": processed["pixel_values"]}, "image"
    is_clip = student.config.kind == "llava_next_video"
    pixels = images.permute(0, 3, 1, 2) / 127.5 - 1.0
    chosen = clip_pixels(images, torch.float32) if is_clip else pixels
    return {}, {"pixel_values_videos": chosen[None]}, "video"


def normalisation(student: Student) -> dict[str, Any]:
    """What the published processor of a kind normalises pixels with, where not as CLIP."""
    half = [0.5, 0.5, 0.5]
    is_centred = student.config.kind == "qwen3_vl"
    return {"image_mean": half, "image_std": half} if is_centred else {}


def handed_in(student: Student, images: Tensor) -> Any:
    """The student's own visual tokens, and maps, in the shape of the model's own output."""
    vision = student.vision(images[None])
    assert vision is not None
    tokens = vision.tokens
    # Any: the classes say tensors, the models take one per image, too.
    by_image: Any = tuple(tokens[0].flatten(1, 2))
    if isinstance(student, Qwen3VL):
        maps: Any = [tuple(each[0].flatten(1, 2)) for each in vision.maps]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=by_image, deepstack_features=maps)
    if isinstance(student, Qwen2VL):
        return BaseModelOutputWithPooling(pooler_output=by_image)
    flat = tokens.flatten(1, 3)
    if student.tokenizer.chat.newline == "end":
        flat = torch.cat([flat, student.newline().expand(1, 1, -1)], dim=1)
    return BaseModelOutputWithPooling(pooler_output=flat)


@pytest.mark.parametrize("kind", WITH_PIXEL_ROUTE)
def test_features_handed_in_equal_the_pixel_route_and_our_prefix(kind: str) -> None:
    student = random_student(kind=kind).eval()
    frames = stack_frames([random_scene("scene", 0)])
    images = frames.images[0]
    ids = sequence(student, len(images))
    shared, pixels, modality = model_inputs(student, images)
    features = handed_in(student, images)
    with torch.no_grad():
        from_pixels = student.model.model(input_ids=ids, **shared, **pixels).last_hidden_state
        from_features = student.model.model(
            input_ids=ids, **shared, mm_encoder_outputs={modality: features}
        ).last_hidden_state
        prefill = student.prefill(frames)
    torch.testing.assert_close(from_features, from_pixels, rtol=1e-4, atol=1e-5)
    visual = from_pixels[0][ids[0] == student.tokenizer.visual_id]
    expected = visual[: len(images) * student.grid**2].reshape(prefill.output.hidden[-1].shape)
    torch.testing.assert_close(prefill.output.hidden[-1], expected, rtol=1e-4, atol=1e-5)
    assert prefill.length == len(ids[0]) - len(QUESTION)


@pytest.mark.parametrize("kind", WITH_PIXEL_ROUTE)
def test_questions_stand_where_the_model_would_count_them(kind: str) -> None:
    student = random_student(kind=kind).eval()
    frames = stack_frames([random_scene("scene", 0)])
    images = frames.images[0]
    ids = sequence(student, len(images))
    shared, pixels, _ = model_inputs(student, images)
    prefix = len(ids[0]) - len(QUESTION)
    layout = PrefixLayout(prefix, ((len(QUESTION),),))
    regions = collate(
        [random_scene("scene", 0)],
        [[]],
        [object_candidates(random_scene("s", 0))],
        student.tokenizer,
    ).regions
    with torch.no_grad():
        expected = student.model.model(input_ids=ids, **shared, **pixels).last_hidden_state
        found = student(frames, layout, torch.tensor(QUESTION), regions)
    torch.testing.assert_close(found.states, expected[0, prefix:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_qwen_positions_are_those_of_transformers(kind: str) -> None:
    student = random_student(kind=kind).eval()
    ids = sequence(student, 3)
    images = random_scene("scene", 0, num_frames=3).images
    shared, _, _ = model_inputs(student, images)
    expected, _ = student.model.model.get_rope_index(ids, **shared)
    layout = PrefixLayout(len(ids[0]) - len(QUESTION), ((len(QUESTION),),))
    found = layout.positions_behind(student.prefix_positions(3))
    assert torch.equal(found, expected[:, 0])
    assert int(found.max()) + 1 < len(ids[0])


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen3_vl"])
def test_a_patch_is_cut_as_qwens_own_processor_cuts_it(kind: str) -> None:
    student = random_student(kind=kind)
    assert isinstance(student, Qwen2VL)
    patch = STUDENTS[kind].real_patch_size
    shape = (1, 4 * patch, 6 * patch, 3)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    processor: Any = Qwen2VLImageProcessorPil(
        patch_size=patch,
        do_resize=False,
        size={"shortest_edge": 1, "longest_edge": 10**6},
        **normalisation(student),
    )
    expected = processor(list(images.permute(0, 3, 1, 2).numpy()), return_tensors="pt")
    rows = patch_rows(student.pixels(images), patch, 2)
    pixels = rows[:, :, None].expand(-1, -1, 2, -1).flatten(1)
    torch.testing.assert_close(pixels, expected["pixel_values"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llava_video", "llava_onevision"])
def test_pooled_tokens_are_those_of_transformers(kind: str) -> None:
    student = random_student(kind=kind).eval()
    images = random_scene("scene", 0).images[None]
    pixels = images.permute(0, 1, 4, 2, 3) / 127.5 - 1.0
    with torch.no_grad():
        expected = student.model.get_video_features(pixels, return_dict=True).pooler_output
        found = student.vision(images)
    assert found is not None
    assert torch.equal(found.tokens.flatten(1, 3), expected[:, :-1])
