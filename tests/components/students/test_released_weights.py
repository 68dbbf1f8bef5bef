"""Weights that the code of 3DRS, Video-3D-LLM and Ross3D saved are students as they are."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from threedrs_components.scenes.voxels import HIGHEST_M, LOWEST_M
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.lmms_lab import HEAD_TENSORS, KEYS
from threedrs_components.students.position3d import SineEncoding
from threedrs_components.students.start import check_start
from threedrs_components.testing.released_checkpoints import (
    GROUND_ID,
    LEFTOVERS,
    WEIGHTS,
    Method,
    publish_released,
)
from threedrs_components.testing.student_checkpoints import publish
from threedrs_platform.errors import CheckpointError

Spoil = Callable[[Path], object]
HEAD = {
    "ground_head_zero_target": "no_object",
    "ground_head_obj": "object_projection",
    "ground_head_query": "query_projection",
}


@pytest.mark.parametrize("method", get_args(Method))
def test_every_tensor_arrives_or_is_left_out_by_name(method: Method, tmp_path: Path) -> None:
    config, stored = publish_released(method, tmp_path / "weights")
    student = build_student(config)
    ends: Any = student.model
    for table, name in (
        (ends.get_input_embeddings(), "model.embed_tokens.weight"),
        (ends.get_output_embeddings(), "lm_head.weight"),
    ):
        assert torch.equal(table.weight, stored[name])  # the two trained rows among them
    ours = student.grounding.state_dict()
    heads = {re.sub(r"^ground_head_[a-z_]+", lambda m: HEAD[m[0]], n): n for n in HEAD_TENSORS}
    assert heads.keys() == ours.keys()
    assert all(torch.equal(ours[name], stored[theirs]) for name, theirs in heads.items())
    left = len(stored) - len(HEAD_TENSORS) - len(LEFTOVERS[method])
    assert len(student.model.state_dict()) == left


def test_trained_tokens_keep_their_ids_and_answers_keep_their_text(tmp_path: Path) -> None:
    config, _ = publish_released("3DRS", tmp_path / "weights")
    save_student(build_student(config), tmp_path / "saved")
    for words in (
        build_student(config).tokenizer,
        load_student(tmp_path / "saved", config).tokenizer,
    ):
        assert (words.ground_id, words.coord_id) == (GROUND_ID, GROUND_ID + 1)
        assert words.visual_id not in (words.ground_id, words.coord_id)
        lamp = words.token_id("lamp")
        assert words.decode([lamp, words.ground_id, words.coord_id, words.end_id]) == (
            "lamp <ground> <coord>"
        )


def test_the_keys_that_a_student_cannot_change_are_what_it_does() -> None:
    assert KEYS["voxel_size"].has == SineEncoding().voxel_m
    assert tuple(KEYS["min_xyz_range"].has) == LOWEST_M
    assert tuple(KEYS["max_xyz_range"].has) == HIGHEST_M


def rewritten(change: Callable[[dict[str, Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        changed = change(tensors)
        save_file(changed if isinstance(changed, dict) else tensors, folder / WEIGHTS)

    return spoil


def without(part: str) -> Spoil:
    return rewritten(lambda held: {name: each for name, each in held.items() if part not in name})


def only(part: str) -> Spoil:
    return rewritten(lambda held: {name: each for name, each in held.items() if part in name})


def named(pattern: str, replacement: str) -> Spoil:
    return rewritten(lambda t: {re.sub(pattern, replacement, name): t[name] for name in t})


def configured(**keys: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return spoil


def adapter(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")


def projector_file(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "mm_projector.bin").write_bytes(b"")


BAD_HEADERS: dict[str, tuple[Spoil, str]] = {
    "LoRA folder": (adapter, r"adapter_config.json: .*LoRA deltas.*merge_and_unload"),
    "LoRA names": (
        named(r"q_proj\.weight", "q_proj.lora_A.weight"),
        "LoRA deltas.*merge_and_unload",
    ),
    "projector file": (projector_file, r"mm_projector.bin: holds a projector only"),
    "projector tensors": (only("mm_projector"), "holds a projector only"),
    "data parallel": (named("^", "module."), r"begins with 'module\.'.*-unwrapped"),
    "nested": (named("^", "state_dict."), r"begins with 'state_dict\.'.*-unwrapped"),
    "nested in model": (named("^", "model."), r"begins with 'model\.'.*-unwrapped"),
    "no tower": (without("vision_tower"), "holds no vision tower.*siglip-so400m-patch14-384"),
    "no projector": (without("mm_projector"), "holds no projector"),
    "no language model": (without("model.layers"), "holds no language model"),
    "no head": (without("ground_head"), "holds no grounding head.*ground_head_type"),
    "half a head": (without("ground_head_obj.3"), r"head lacks ground_head_obj\.3\.weight, gr"),
    "another head": (
        rewritten(lambda t: t.update({"ground_head_mlp.weight": torch.ones(2)})),
        "ground_head_mlp.weight in .*: a grounding head of another type",
    ),
    "a stranger": (
        rewritten(lambda t: t.update({"model.audio_tower.weight": torch.ones(2)})),
        r"not of this model \(model\.audio_tower\.weight in",
    ),
    "quantised": (
        rewritten(lambda held: {name: each.to(torch.int8) for name, each in held.items()}),
        r"has the format I8: these weights are quantised; take those in bfloat16",
    ),
    "a list": (
        lambda folder: (folder / "config.json").write_text("[]") and None,
        "config.json: cannot be read: it holds no object",
    ),
    "pooling mode": (
        configured(mm_spatial_pool_mode="average"),
        "pool_mode is 'average'.*'bilin.*change config.json",
    ),
    "pooling stride": (configured(mm_spatial_pool_stride=4), "mm_spatial_pool_stride is 4.*has 2"),
    "no newline": (configured(mm_patch_merge_type="flat"), "patch_merge_type is 'flat'.*newline"),
    "voxels": (configured(voxel_size=0.2), "voxel_size is 0.2"),
    "range": (configured(max_xyz_range=[9, 9, 9]), "max_xyz_range"),
    "positions": (configured(world_position_embedding_type="avg-mlp"), "embedding_type is 'avg-m"),
    "objects": (configured(object_feature_type="patch27-pe"), "feature_type is 'patch27-pe'"),
    "one row for two": (
        configured(coord_token_ids=[GROUND_ID]),
        r"coord_token_ids \[15\].*no two rows",
    ),
    "ids behind the table": (configured(coord_token_ids=[99]), r"no two rows.*\(17 rows\)"),
}


@pytest.mark.parametrize("fault", BAD_HEADERS)
def test_what_headers_tell_is_refused_before_anything_is_loaded(fault: str, tmp_path: Path) -> None:
    spoil, message = BAD_HEADERS[fault]
    config, _ = publish_released("3DRS", tmp_path / "weights")
    spoil(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        check_start(config, tmp_path / "weights")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_encoding": False, "coord_input": "region"}, "position_encoding: true"),
        ({"coord_input": "region"}, "coord_input: encoding"),
        ({"object_membership": "share"}, "object_membership: released"),
        ({"object_features": "llm"}, r"object_features: vision \(3DRS: both\)"),
    ],
)
def test_settings_that_the_weights_were_not_trained_with_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config, _ = publish_released("3DRS", tmp_path / "weights")
    with pytest.raises(CheckpointError, match=message):
        check_start(config.model_copy(update=changes), tmp_path / "weights")


def test_a_tokenizer_of_the_model_before_is_refused(tmp_path: Path) -> None:
    """Behind the words of the base there is no `<image>`: both new ids would be one too low."""
    config, _ = publish_released("3DRS", tmp_path / "weights")
    publish("llava_video/lmms-lab", tmp_path / "base")
    (tmp_path / "base/tokenizer.json").rename(tmp_path / "weights/tokenizer.json")
    with pytest.raises(CheckpointError, match=r"<coord> at \[15, 16\].*\[14, 15\].*saved with"):
        build_student(config)


def test_a_tokenizer_with_one_of_the_two_is_refused(tmp_path: Path) -> None:
    config, _ = publish("llava_video/lmms-lab", tmp_path / "weights")
    path = tmp_path / "weights/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["<ground>"])
    tokenizer.save(str(path))
    with pytest.raises(CheckpointError, match="has <ground> and not <coord>"):
        build_student(config)


def test_tables_without_spare_rows_name_the_cure(tmp_path: Path) -> None:
    config, _ = publish("llava_video/lmms-lab", tmp_path / "weights")
    tables = ("model.embed_tokens.weight", "lm_head.weight")
    rewritten(lambda t: t.update({name: t[name][:14].clone() for name in tables}))(
        tmp_path / "weights"
    )
    with pytest.raises(CheckpointError, match=r"14 rows\) has no room.*resize_token_embeddings"):
        build_student(config)


def test_placeholders_that_collide_with_new_tokens_are_named(tmp_path: Path) -> None:
    config, _ = publish("llava_onevision/llava-hf", tmp_path / "weights")
    configured(video_token_index=14)(tmp_path / "weights")
    with pytest.raises(CheckpointError, match=r"\[14\] are its placeholders.*tokenizer"):
        build_student(config)


def test_rows_that_only_the_tokenizer_knows_as_trained_are_kept(tmp_path: Path) -> None:
    config, stored = publish_released("3DRS", tmp_path / "weights")
    configured(ground_token_ids=None, coord_token_ids=None)(tmp_path / "weights")
    embedded = build_student(config).model.get_input_embeddings().weight
    assert torch.equal(embedded[GROUND_ID:], stored["model.embed_tokens.weight"][GROUND_ID:])


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"model": t}, lambda t: {"state_dict": t}])
def test_the_cure_of_a_pickle_is_python_that_works(
    wrap: Callable[[dict[str, Tensor]], object], tmp_path: Path
) -> None:
    config, stored = publish_released("3DRS", tmp_path / "weights")
    names = sorted(stored)
    for shard in range(2):
        part = {f"module.{name}": stored[name] for name in names[shard::2]}
        torch.save(wrap(part), tmp_path / f"weights/pytorch_model-{shard}.bin")
    (tmp_path / "weights/training_args.bin").write_bytes(pickle.dumps(Path()))
    (tmp_path / "weights" / WEIGHTS).unlink()
    run_cure(config)
    assert load_file(tmp_path / "weights" / WEIGHTS).keys() == stored.keys()
    check_start(config, tmp_path / "weights")


def test_the_cure_of_a_wrapped_model_is_python_that_works(tmp_path: Path) -> None:
    config, _ = publish_released("3DRS", tmp_path / "weights")
    named("^", "module.")(tmp_path / "weights")
    run_cure(config)
    check_start(config, tmp_path / "weights-unwrapped")


def run_cure(config: Any) -> None:
    with pytest.raises(CheckpointError, match="in Python") as caught:
        check_start(config, Path(config.checkpoint))
    exec(str(caught.value).split("in Python:\n")[1], {})
