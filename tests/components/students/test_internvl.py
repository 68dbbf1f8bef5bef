"""InternVL: frames with numbers, two layouts on disk, a table without a spare row, refusals."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import InternVLConfig, InternVLForConditionalGeneration

from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.students import dtypes
from threedrs_components.students.batches import collate, object_candidates, stack_frames
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.internvl.layout import LANGUAGE
from threedrs_components.students.internvl.model import converted, opengvlab_config
from threedrs_components.students.passes import Frames, Regions
from threedrs_components.students.published_shapes import (
    INTERNVIT_300M,
    INTERNVL3_5_TEXT,
    INTERNVL3_TEXT,
)
from threedrs_components.students.registry import STUDENTS, AnyStudent, open_student, stored_config
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.sizes import student_size
from threedrs_components.students.start import check_start
from threedrs_components.students.student import Student
from threedrs_components.testing.student_checkpoints import (
    INTERNVL_WORDS,
    opengvlab_content,
    opengvlab_tensors,
    publish,
    tiny_config,
    write_tokenizer,
)
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import TrainingInputs, train
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.errors import CheckpointError, ConfigError

WEIGHTS = "model.safetensors"
BOTH = ("internvl/OpenGVLab", "internvl/hf")
SMALL = 56
"""Side of frames of 2 x 2 tokens."""
FRAMES = 11
"""The last ones have a number of two digits."""
QUESTION = (12, 13, 5, 12)


def seen_by(student: Student, num_frames: int = FRAMES) -> Frames:
    sizes = {"grid": student.grid, "image_size": student.image_size, "num_frames": num_frames}
    return stack_frames([random_scene("scene", 0, **sizes)])


def without_regions(student: Student, num_frames: int = FRAMES) -> Regions:
    sizes = {"grid": student.grid, "image_size": student.image_size, "num_frames": num_frames}
    scene = random_scene("s", 0, **sizes)
    return collate([scene], [[]], [object_candidates(scene)], student.tokenizer).regions


def written(student: Student, name: str, num_frames: int) -> Tensor:
    """Ids of header and frames, from their text in one piece: [1, n]."""
    seen = "<IMG_CONTEXT>" * student.grid**2
    frames = [f"{name}{n + 1}: <img>{seen}</img>\n" for n in range(num_frames)]
    text = "<|im_start|>user\n" + "".join(frames)
    found = student.tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
    return torch.tensor([found])


@torch.no_grad()
@pytest.mark.parametrize("name", ["Frame1", "Frame-1"])
@pytest.mark.parametrize("layout", BOTH)
def test_numbered_frames_are_read_as_transformers_reads_them(
    layout: str, name: str, tmp_path: Path
) -> None:
    config, _ = publish(layout, tmp_path / "weights", frame_size=SMALL, frame_name=name)
    student = build_student(config).eval()
    words, frames = student.tokenizer, seen_by(student)
    assert len(words.before(9)) == len(words.before(8)) + 1
    prefix = written(student, name.removesuffix("1"), FRAMES)
    assert prefix.shape[1] == words.prefix_length(FRAMES, student.grid)
    pixels = (frames.images[0].permute(0, 3, 1, 2) / 255).sub(
        torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    ) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    ids = torch.cat([prefix, torch.tensor([QUESTION])], dim=1)
    expected = student.model.model(input_ids=ids, pixel_values=pixels).last_hidden_state[0]
    layout_of = PrefixLayout(prefix.shape[1], ((len(QUESTION),),))
    found = student(frames, layout_of, torch.tensor(QUESTION), without_regions(student))
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    close(found.states, expected[prefix.shape[1] :])
    visual = expected[ids[0] == words.visual_id].reshape(found.hidden[-1].shape)
    close(found.hidden[-1], visual)
    close(student.prefill(frames).output.hidden[-1], visual)


@pytest.mark.parametrize("layout", BOTH)
def test_questions_behind_one_prefix_have_the_states_and_gradients_of_each_alone(
    layout: str, tmp_path: Path
) -> None:
    config, _ = publish(layout, tmp_path / "weights", frame_size=SMALL, frozen=())
    student = build_student(config).double()
    frames, regions = seen_by(student), without_regions(student)
    prefix = student.tokenizer.prefix_length(FRAMES, student.grid)
    questions = [torch.tensor(QUESTION[:length]) for length in (4, 2, 3)]
    torch.manual_seed(0)
    towards = torch.randn(9, student.width, dtype=torch.float64)

    def states(asked: list[Tensor], part: slice) -> Tensor:
        layout_of = PrefixLayout(prefix, (tuple(len(each) for each in asked),))
        found: Tensor = student(frames, layout_of, torch.cat(asked), regions).states
        (found * towards[part]).sum().backward()  # type: ignore[no-untyped-call]
        return found.detach()

    def gradients() -> dict[str, Tensor]:
        found = {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}
        student.zero_grad()
        return found

    together = states(questions, slice(None))
    of_all = gradients()
    places = (slice(0, 4), slice(4, 6), slice(6, 9))
    alone = [states([each], part) for each, part in zip(questions, places, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-6)
    largest = max(float(each.abs().max()) for each in of_all.values())
    of_each = gradients()
    assert of_all.keys() == of_each.keys()
    assert any("vision_tower" in name for name in of_all)
    for name, each in of_each.items():
        torch.testing.assert_close(of_all[name], each, rtol=1e-4, atol=1e-6 * largest, msg=name)


@torch.no_grad()
def test_an_order_of_frames_is_that_of_the_images_and_states_come_back_in_place(
    tmp_path: Path,
) -> None:
    config, _ = publish("internvl/hf", tmp_path / "weights", frame_size=SMALL)
    student = build_student(config).eval()
    frames = seen_by(student)
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))[None]
    by_order = Frames(frames.images, frames.coordinates, frames.counts, order)
    by_images = Frames(
        frames.images[:, order[0]], frames.coordinates[:, order[0]], frames.counts[:, order[0]]
    )
    one = student.prefill(by_order).output.hidden[-1]
    other = student.prefill(by_images).output.hidden[-1]
    torch.testing.assert_close(one[:, order[0]], other)


@torch.no_grad()
def test_a_token_shows_its_square_of_pixels() -> None:
    student = random_student(kind="internvl").eval()
    images = random_scene("scene", 0).images[:1]
    changed = images.clone()
    changed[0, 16:32, 48:64] ^= 255
    difference = (student.patches(changed) - student.patches(images))[0].norm(dim=-1)
    assert divmod(int(difference.argmax()), student.grid) == (1, 3)


@pytest.mark.parametrize("release", ["3", "3.5"])
@pytest.mark.parametrize("layout", BOTH)
def test_both_layouts_hold_either_release(layout: str, release: str, tmp_path: Path) -> None:
    config, published = publish(layout, tmp_path / "weights", release=release)
    student = build_student(config)
    state = student.model.state_dict()
    assert state.keys() == published.keys()
    for name, value in published.items():
        if not name.endswith(("embed_tokens.weight", "lm_head.weight")):
            assert torch.equal(state[name], value), name
    stated = student.model.config.text_config.rope_parameters
    assert (stated["rope_type"], stated["rope_theta"]) == (
        "dynamic" if release == "3" else "default",
        1e6,
    )


def test_a_table_without_a_spare_row_grows_and_keeps_the_published_rows(tmp_path: Path) -> None:
    config, published = publish("internvl/OpenGVLab", tmp_path / "weights")
    words = len(INTERNVL_WORDS)
    assert published["lm_head.weight"].shape[0] == words
    save_student(build_student(config), tmp_path / "saved")
    student = open_student(tmp_path / "saved")
    assert (student.tokenizer.ground_id, student.tokenizer.coord_id) == (words, words + 1)
    assert student.model.config.text_config.vocab_size == words + 2
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        grown = student.model.get_parameter(name)
        assert grown.shape[0] == words + 2
        assert torch.equal(grown[:words], published[name])
        torch.testing.assert_close(grown[words], published[name].mean(0))
    assert student.logits(torch.zeros(1, student.width)).shape == (1, words + 2)


def test_weights_that_stay_in_their_file_are_saved_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries, keys and values are views of one tensor, as those of many bytes stay."""
    monkeypatch.setattr(dtypes, "COPIED_BELOW_BYTES", 0)
    config, published = publish("internvl/OpenGVLab", tmp_path / "weights")
    save_student(build_student(config), tmp_path / "saved")
    state = open_student(tmp_path / "saved").model.state_dict()
    for part in ("q_proj", "k_proj", "v_proj"):
        name = f"model.vision_tower.encoder.layer.1.attention.{part}.weight"
        assert torch.equal(state[name], published[name])


def test_what_hub_files_leave_unsaid_is_read_off_the_weights(tmp_path: Path) -> None:
    """transformers would tie the tables, drop biases of the tower and seek word 151667."""
    config, published = publish("internvl/hf", tmp_path / "weights")
    path = tmp_path / "weights/config.json"
    stored = json.loads(path.read_text())
    del stored["tie_word_embeddings"], stored["text_config"]["tie_word_embeddings"]
    del stored["vision_config"]["attention_bias"], stored["image_token_id"]
    path.write_text(json.dumps(stored))
    assert InternVLConfig.from_pretrained(tmp_path / "weights").tie_word_embeddings
    model = build_student(config).model
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    bias = "model.vision_tower.encoder.layer.0.attention.q_proj.bias"
    assert torch.equal(model.get_parameter(bias), published[bias])
    assert model.config.image_token_id == INTERNVL_WORDS.index("<IMG_CONTEXT>")


def test_frames_of_392_pixels_have_the_grid_of_the_papers_students(tmp_path: Path) -> None:
    config, published = publish("internvl/hf", tmp_path / "weights", frame_size=392)
    student = build_student(config)
    assert (student.grid, config.grid, config.image_size, config.covered) == (14, 14, 392, 392)
    assert student.image_size == 14 * 2 * 4
    table = published["model.vision_tower.embeddings.position_embeddings"]
    assert table.shape[1] == 16 * 16 + 1
    seen = student.patches(random_scene("s", 0, image_size=student.image_size).images)
    assert seen.shape == (2, 14, 14, student.width)
    with pytest.raises(ConfigError, match="multiple of 28"):
        STUDENTS.read({"kind": "internvl", "frame_size": 384})


def test_layers_are_those_of_the_release() -> None:
    either = [
        STUDENTS.read({"kind": "internvl", "size": "8b", "release": each, "checkpoint": "w"})
        for each in ("3", "3.5")
    ]
    assert [config.layers for config in either] == [28, 36]
    with pytest.raises(ConfigError, match="no system turn"):
        STUDENTS.read({"kind": "internvl", "system": "Be brief."})


def test_a_system_turn_stands_before_the_question_where_one_is_asked_for(tmp_path: Path) -> None:
    plain, _ = publish("internvl/hf", tmp_path / "weights")
    asked = plain.model_copy(update={"system": "red lamp"})
    headers = [build_student(each).tokenizer.chat.header for each in (plain, asked)]
    assert headers == [
        "<|im_start|>user\n",
        "<|im_start|>system\nred lamp<|im_end|>\n<|im_start|>user\n",
    ]


@pytest.mark.parametrize("layout", ["llava_onevision/llava-hf", "qwen2_vl/Qwen"])
def test_weights_of_another_kind_are_refused(layout: str, tmp_path: Path) -> None:
    other, _ = publish(layout, tmp_path / "weights")
    config = STUDENTS.read({"kind": "internvl", "size": "8b", "checkpoint": other.checkpoint})
    with pytest.raises(CheckpointError, match=r"expected 'internvl' .*InternVL3-8B-hf"):
        check_start(config, tmp_path / "weights")


def configured(**changes: Any) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def reshaped(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        tensors[name] = change(tensors[name]).contiguous()
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return spoil


def added(name: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        save_file({**tensors, name: torch.zeros(4, 4)}, folder / WEIGHTS, {"format": "pt"})

    return spoil


QKV = "vision_model.encoder.layers.0.attn.qkv.weight"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another release": (
        configured(llm_config={"model_type": "qwen3"}),
        r"language model is 'qwen3', that of InternVL3\.5.*set the student's release: '3\.5'",
    ),
    "another language model": (
        configured(llm_config={"model_type": "internlm2"}),
        "language model is 'internlm2'; InternVL3-8B has 'qwen2'.*take one of the two",
    ),
    "another pixel shuffle": (configured(ps_version="v1"), "ps_version is 'v1', this student has"),
    "qkv across": (
        reshaped(QKV, lambda each: each.T),
        r"attn\.qkv\.weight \(32, 96\): queries, keys and values .* \(96, 32\).*take the files",
    ),
    "qkv of grouped heads": (
        reshaped(QKV, lambda each: each[:64]),
        r"attn\.qkv\.weight \(64, 32\): .*expected one below the other",
    ),
    "InternLM2's wqkv": (
        added("language_model.model.layers.0.attention.wqkv.weight"),
        "attention InternLM2's, which weaves .*take InternVL3-8B",
    ),
    "InternViT-6B": (
        added("vision_model.encoder.layers.0.attn.q_norm.weight"),
        "attention of InternViT-6B.*take a release with InternViT-300M",
    ),
    "split by somebody": (
        added("vision_model.encoder.layers.0.attn.q_proj.weight"),
        "attention split already: .*save_pretrained",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_weights_laid_out_in_another_way_are_refused_from_their_headers(
    fault: str, tmp_path: Path
) -> None:
    spoil, message = REFUSED[fault]
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights")
    spoil(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=message):
        check_start(config, tmp_path / "weights")


def test_a_missing_part_of_opengvlabs_files_is_named(tmp_path: Path) -> None:
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights")
    tensors = load_file(tmp_path / "weights" / WEIGHTS)
    del tensors[QKV.replace("qkv", "proj")], tensors["mlp1.3.bias"]
    save_file(tensors, tmp_path / "weights" / WEIGHTS, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"2 tensors are missing .*projection_layer\.weight"):
        build_student(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([each for each in INTERNVL_WORDS if each != "<IMG_CONTEXT>"], "has <IMG_CONTEXT> at None"),
        ([*INTERNVL_WORDS, "one", "two"], "has 32 words before them.*published with the weights"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(
    words: list[str], message: str, tmp_path: Path
) -> None:
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights")
    write_tokenizer(tmp_path / "weights", words)
    with pytest.raises(CheckpointError, match=message):
        build_student(config)


def test_a_student_made_with_other_marks_is_refused(tmp_path: Path) -> None:
    save_student(random_student(kind="internvl", frame_name="Frame-1"), tmp_path)
    stored: AnyStudent = stored_config(tmp_path)
    assert open_student(tmp_path).tokenizer.chat.before(11) == "Frame-12: <frame>"
    other = stored.model_copy(update={"frame_name": "Frame1"})
    with pytest.raises(CheckpointError, match="made with frame_name: 'Frame-1', not 'Frame1'"):
        load_student(tmp_path, other)


def test_opengvlabs_configuration_is_the_one_of_transformers() -> None:
    for release in ("3", "3.5"):
        ours: Any = tiny_config("internvl/hf", release=release)
        theirs = opengvlab_config(opengvlab_content(ours.to_dict()))
        for part in ("vision_config", "text_config"):
            wanted, found = (getattr(each, part).to_dict() for each in (ours, theirs))
            for each in (wanted, found):
                each.get("rope_parameters", {}).pop("type", None)
            assert found == wanted, part


def test_no_folder_is_asked_for_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenGVLab's config.json names Python files; transformers would ask whether to run them."""
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights")
    assert "auto_map" in json.loads((tmp_path / "weights/config.json").read_text())
    build_student(config)
    assert "custom code" not in capsys.readouterr().out


def test_a_tokenizer_of_words_and_merges_is_read_as_opengvlab_publishes_it(tmp_path: Path) -> None:
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights", frame_size=SMALL)
    folder = tmp_path / "weights"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    letters = [*"Frame:-usrnit", "\u0120", "\u010a", *"0123456789"]
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    words = {word: index for index, word in enumerate(dict.fromkeys(letters))}
    extra = {mark: len(words) + index for index, mark in enumerate(marks)}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "added_tokens.json").write_text(json.dumps(extra))
    decoder = {str(each): {"content": mark, "special": True} for mark, each in extra.items()}
    about = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    student = build_student(config)
    assert student.model.config.image_token_id == extra["<IMG_CONTEXT>"]
    frame = student.tokenizer.before(9)
    assert frame == (*(words[each] for each in "Frame10:"), words["\u0120"], extra["<img>"])
    assert student.tokenizer.ground_id == len(words) + len(extra)


PARAMETERS = {"3": 7_944_373_760, "3.5": 8_528_318_464}
PROJECTOR = {"3": 27_540_480, "3.5": 33_570_816}
TOWER = 304_012_288


@pytest.mark.parametrize("release", PARAMETERS)
def test_the_full_size_model_has_the_published_size_and_names(release: str, tmp_path: Path) -> None:
    said = {"kind": "internvl", "size": "8b", "release": release, "checkpoint": str(tmp_path)}
    config = STUDENTS.read(said)
    text = dict(INTERNVL3_TEXT if release == "3" else INTERNVL3_5_TEXT)
    full: Any = InternVLConfig(
        vision_config={**INTERNVIT_300M, "attention_bias": True},
        text_config={**text, "model_type": LANGUAGE[release]},
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model: Any = InternVLForConditionalGeneration(full)
    parts = [model.model.vision_tower, model.model.multi_modal_projector]
    counts = [sum(each.numel() for each in part.parameters()) for part in (model, *parts)]
    assert counts == [PARAMETERS[release], TOWER, PROJECTOR[release]]
    stored = opengvlab_tensors(model.state_dict())
    assert "vision_model.encoder.layers.23.attn.qkv.bias" in stored
    found = {ours for name, each in stored.items() for ours in converted(name, each)}
    assert found == model.state_dict().keys()
    sizes = [student_size(config)]
    for content in (full.to_dict(), opengvlab_content(full.to_dict())):
        (tmp_path / "config.json").write_text(json.dumps(content))
        sizes.append(student_size(config))
    for size in sizes:
        assert size is not None
        assert [size.parameters, size.vision.parameters, size.projector] == counts


@pytest.mark.parametrize("release", PARAMETERS)
def test_micro_sizes_are_those_of_a_micro_student(release: str) -> None:
    student = random_student(kind="internvl", release=release)
    size = student_size(student.config)
    assert size is not None
    words = student.embed(torch.tensor([0])).numel() * 2
    own = sum(each.numel() for each in student.model.parameters())
    assert size.parameters - size.text.tables == own - words * len(student.tokenizer)


@pytest.mark.parametrize("release", PARAMETERS)
def test_a_step_of_training_moves_all_but_the_tower(release: str, tmp_path: Path) -> None:
    config, _ = publish("internvl/hf", tmp_path / "weights", frame_size=SMALL, release=release)
    config = config.model_copy(update={"position_encoding": True, "gradient_checkpointing": True})
    start = build_student(config)
    scene = random_scene("a", 0, grid=start.grid, image_size=start.image_size, num_frames=FRAMES)
    write_prepared(scene, tmp_path / "prepared")
    inputs = TrainingInputs(
        student=config,
        prepared=tmp_path / "prepared",
        samples={"a": random_samples(scene, 3, 0)},
        training=TrainingConfig(steps=1, scenes_per_step=1, questions_per_scene=3),
        objectives=TASKS,
    )
    train(
        inputs,
        report=lambda *_: None,
        checkpoint_dir=tmp_path / "checkpoints",
        out=tmp_path / "out",
    )
    trained = open_student(tmp_path / "out")
    before, after = start.state_dict(), trained.state_dict()
    changed = {
        trained.part_of(name) for name in after if not torch.equal(before[name], after[name])
    }
    assert changed == {"projector", "language", "heads"}
    assert trained.tokenizer.chat == start.tokenizer.chat


def test_a_blind_student_reads_no_frame_and_no_number(tmp_path: Path) -> None:
    config, _ = publish("internvl/OpenGVLab", tmp_path / "weights", frame_size=SMALL, blind=True)
    student = build_student(config).eval()
    scene = random_scene("s", 0, grid=student.grid, image_size=student.image_size)
    prefill = student.prefill(stack_frames([scene]))
    assert prefill.length == len(student.tokenizer.header) == 2
    answers = predict_scene(student, scene, random_samples(scene, 3, 0), 2)
    assert len(answers) == 3 and len(answers[0].scores) == 5
