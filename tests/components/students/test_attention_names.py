"""Attention under names that nobody reads is found by headers, for every kind of student."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from threedrs_components.students.attention_names import refuse_unnamed_attention
from threedrs_components.students.start import check_start
from threedrs_components.students.weight_files import stored_tensors
from threedrs_components.testing.student_checkpoints import LAYOUTS, publish
from threedrs_platform.errors import CheckpointError


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("part", "other"), [("qkv.", "kqv."), ("q_proj.", "query.")])
def test_renamed_queries_keys_and_values_are_refused(
    layout: str, part: str, other: str, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    config, _ = publish(layout, folder)
    check_start(config, folder)
    changed = False
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        changed |= any(part in name for name in tensors)
        renamed = {name.replace(part, other): each for name, each in tensors.items()}
        save_file(renamed, file, {"format": "pt"})
    if not changed:
        pytest.skip("these weights have no tensor of that name")
    for index in folder.glob("*.index.json"):
        index.write_text(index.read_text().replace(part, other))
    with pytest.raises(CheckpointError):
        check_start(config, folder)
    # Some are refused for other reasons before; this one holds for all.
    with pytest.raises(CheckpointError, match="no queries, keys and values in "):
        refuse_unnamed_attention(folder, stored_tensors(folder))


def test_the_layer_and_what_it_holds_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    config, _ = publish("internvl/OpenGVLab", folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("attn.qkv", "attn.kqv"): each for name, each in tensors.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError,
        match=r"no queries, keys and values in vision_model\.encoder\.layers\.0, .* it holds "
        r"attn\.kqv\.bias, attn\.kqv\.weight",
    ):
        check_start(config, folder)


@pytest.mark.parametrize(("layer", "is_refused"), [(0, True), (1, False)])
def test_only_the_last_layer_of_a_tower_may_have_lost_its_attention(
    layer: int, is_refused: bool
) -> None:
    """Students of LLaVA do without it, and published files hold its rest."""
    names = [
        f"model.vision_tower.layers.{number}.{part}.weight"
        for number in range(2)
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")
        if number != layer or part == "mlp.fc1"
    ]
    with pytest.raises(CheckpointError) if is_refused else contextlib.nullcontext():
        refuse_unnamed_attention(Path("weights"), names)
