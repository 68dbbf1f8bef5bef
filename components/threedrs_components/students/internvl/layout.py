"""InternVL on disk: OpenGVLab's own layout, that of transformers, and what is neither. No torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from threedrs_components.tensor_headers import StoredTensor
from threedrs_platform.errors import CheckpointError

OPENGVLAB = "internvl_chat"
"""Its model_type, which transformers does not know."""
LANGUAGE = {"3": "qwen2", "3.5": "qwen3"}
"""What the releases call their language model."""
NAMES = {
    r"^vision_model\.embeddings\.class_embedding$": "model.vision_tower.embeddings.cls_token",
    r"^vision_model\.embeddings\.position_embedding$": (
        "model.vision_tower.embeddings.position_embeddings"
    ),
    r"^vision_model\.embeddings\.patch_embedding\.": (
        "model.vision_tower.embeddings.patch_embeddings.projection."
    ),
    r"^vision_model\.encoder\.layers\.(\d+)\.": r"model.vision_tower.encoder.layer.\1.",
    r"(vision_tower.*)\.norm1\.": r"\1.layernorm_before.",
    r"(vision_tower.*)\.norm2\.": r"\1.layernorm_after.",
    r"(vision_tower.*)\.ls1$": r"\1.lambda_1",
    r"(vision_tower.*)\.ls2$": r"\1.lambda_2",
    r"(vision_tower.*)\.attn\.proj\.": r"\1.attention.projection_layer.",
    r"(vision_tower.*)\.attn\.": r"\1.attention.",
    r"^mlp1\.0\.": "model.multi_modal_projector.layer_norm.",
    r"^mlp1\.1\.": "model.multi_modal_projector.linear_1.",
    r"^mlp1\.3\.": "model.multi_modal_projector.linear_2.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^language_model\.model\.": "model.language_model.",
}
"""OpenGVLab's names, and what transformers calls them; each pattern in turn."""
QKV = re.compile(r"^vision_model\..*\.attn\.qkv\.(weight|bias)$")
"""Queries, keys and values of the tower, row by row in this order."""
PARTS = ("q_proj", "k_proj", "v_proj")
OTHER_QKV = {
    r"^language_model\..*\.attention\.wqkv\.": (
        "InternLM2's, which weaves the queries of a group with its key and value; this student's "
        "language model is Qwen2.5 or Qwen3: take InternVL3-8B or InternVL3.5-8B"
    ),
    r"^vision_model\..*\.attn\.(q|k)_norm\.": (
        "of InternViT-6B, which normalises queries and keys; take a release with InternViT-300M"
    ),
    r"^vision_model\..*\.attn\.(q|k|v)_proj\.": (
        "split already: neither OpenGVLab's layout nor transformers'; save the model by "
        "transformers (save_pretrained of InternVLForConditionalGeneration), or take "
        "OpenGVLab's files as they are"
    ),
}
"""Attention that is laid out in another way, and what it is."""
KEYS: Mapping[str, Sequence[Any]] = {
    "downsample_ratio": (0.5,),
    "select_layer": (-1,),
    "ps_version": ("v2",),
    "vision_feature_layer": (-1,),
    "vision_feature_select_strategy": ("default",),
}
"""Keys of config.json that decide how tokens are made, and the values that a student has."""
MOST = 3
"""Tensors that an error spells out; it counts the others."""


def refuse_contradictions(
    folder: Path, stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor], release: str
) -> None:
    """Refuse weights that would be read as another model than they are.

    Args:
        folder: of the weights.
        stored: its config.json.
        tensors: by name.
        release: of the student.

    Raises:
        CheckpointError: names what does not fit, and what would.
    """
    faults = [*_wrong_language(stored, release), *_wrong_keys(stored)]
    faults += [
        f"vision_config.{name} is true, the towers of these releases normalise no queries"
        for name in ("qk_normalization", "use_qk_norm")
        if vision_config(stored).get(name)
    ]
    if faults:
        raise CheckpointError(f"{folder}/config.json: " + "; ".join(faults))
    faults = _wrong_attention(tensors, vision_config(stored).get("hidden_size"))
    if faults:
        raise CheckpointError(f"{folder}: " + "; ".join(faults))


def text_config(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the language model, in either layout."""
    found = stored.get("llm_config") or stored.get("text_config") or {}
    return found if isinstance(found, Mapping) else {}


def vision_config(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the tower."""
    found = stored.get("vision_config") or {}
    return found if isinstance(found, Mapping) else {}


def is_tied(stored: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether the word table is the output table, too: where config.json leaves it open, and there
    is no output table. transformers takes silence for a yes, and files of both tables are silent.
    """
    stated = stored.get("tie_word_embeddings", text_config(stored).get("tie_word_embeddings"))
    return stated is not False and not any(name.endswith("lm_head.weight") for name in names)


def renamed(name: str) -> str:
    """What transformers calls a tensor of OpenGVLab."""
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def _wrong_language(stored: Mapping[str, Any], release: str) -> list[str]:
    found = text_config(stored).get("model_type")
    if found == LANGUAGE[release]:
        return []
    fitting = [other for other, language in LANGUAGE.items() if language == found]
    if fitting:
        return [
            f"its language model is {found!r}, that of InternVL{fitting[0]}, and the student is "
            f"InternVL{release}; set the student's release: '{fitting[0]}'"
        ]
    return [
        f"its language model is {found!r}; InternVL3-8B has 'qwen2', InternVL3.5-8B 'qwen3': take "
        "one of the two"
    ]


def _wrong_keys(stored: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {stored[name]!r}, this student has {values[0]!r}"
        for name, values in KEYS.items()
        if stored.get(name) is not None and stored[name] not in values
    ]


def _wrong_attention(tensors: Mapping[str, StoredTensor], width: Any) -> list[str]:
    faults = []
    for pattern, meaning in OTHER_QKV.items():
        found = sorted(name for name in tensors if re.search(pattern, name))
        if found:
            faults.append(f"{_listed(found)}: attention {meaning}")
    expected = {"weight": (3 * width, width), "bias": (3 * width,)} if width else {}
    odd = sorted(
        f"{name} {each.shape}"
        for name, each in tensors.items()
        if (found_qkv := QKV.match(name)) and each.shape != expected.get(found_qkv[1], each.shape)
    )
    if odd:
        faults.append(
            f"{_listed(odd)}: queries, keys and values of the tower are expected one below the "
            f"other, {expected['weight']} and {expected['bias']}; take the files that OpenGVLab "
            "published, or save the model by transformers"
        )
    return faults


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
