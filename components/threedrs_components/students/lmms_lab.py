"""The layout of lmms-lab, and of what was trained from it: 3DRS, Video-3D-LLM, Ross3D.

Names of tensors, and keys of config.json that decide what the model is. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threedrs_components.students.settings import StudentSettings
from threedrs_components.tensor_headers import StoredTensor
from threedrs_platform.errors import CheckpointError

MODEL_TYPES = ("llava_qwen", "ross3d_qwen")
MODEL_NAMES = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(layers|embed_tokens|norm)\b": r"model.language_model.\1",
}
"""Stored names, and what transformers calls them."""
HEAD_NAMES = {
    r"^ground_head_zero_target$": "no_object",
    r"^ground_head_obj\.": "object_projection.",
    r"^ground_head_query\.": "query_projection.",
}
"""Stored names, and what they are in the grounding head."""
DROPPED = {
    r"vision_tower\.(.*\.)?(encoder\.layers\.26|head)\.": "SigLIP's last layer and pooling head",
    r"^model\.proj_3d\.": "3DRS's alignment MLP, which no answer needs",
    r"^model\.(corres_linear|linear_dc|geometric_linear)\.": "leftovers of 3DRS, never called",
    r"^model\.mask_token$": "Ross3D's masked frames, in training only",
    r"^model\.mm_inv_projector\.": "Ross3D's denoiser, in training only",
    r"^model\.mm_pixel_decoder\.": "Ross3D's frozen image decoder, in training only",
}
"""Tensors that no LLaVA reads when it answers, and what they are."""
MEANINGS = {
    r"^ground_head_": "a grounding head of another type than infonce",
    r"^model\.vision_resampler\.": "a resampler of visual tokens, which this student lacks",
    r"^model\.layers\.": "a layer beyond num_hidden_layers of config.json",
    r"^model\.vision_tower\.": "a vision tower other than SigLIP",
    r"^model\.mm_projector\.": "a projector other than mlp2x_gelu",
    r"rotary_emb\.inv_freq$": "a buffer of older transformers, computed anew: leave it out",
}
"""What a tensor would be that is neither mapped nor dropped; the first that fits."""
MOST = 5
"""Tensors that an error spells out; it counts the others."""
EMBEDDING = "model.embed_tokens.weight"
HEAD_KEY = "ground_head_type"
HEAD_PREFIX = "ground_head_"
HEAD_TENSORS = (
    f"{HEAD_PREFIX}zero_target",
    *(
        f"{HEAD_PREFIX}{part}.{index}.{kind}"
        for part in ("obj", "query")
        for index in (0, 2, 3)
        for kind in ("weight", "bias")
    ),
)
NEWLINE_NAMES = {"grid": "row", "one_token": "end"}
"""What lmms-lab calls the place of the newline vector in a video."""
TRAINED_IDS = ("ground_token_ids", "coord_token_ids")
"""Keys of config.json: where `<ground>` and `<coord>` stand in trained tables."""
POSITIONS = "avg-discrete-sin3d"
RELEASED_OBJECTS = "patch14-pe"


@dataclass(frozen=True)
class Key:
    """A key of config.json that changes the model, and the one value that a student has."""

    has: Any
    cure: str = "no student of this platform has another"

    def accepts(self, value: object) -> bool:
        """Whether a stored value means what the student does; an absent one does."""
        return value is None or value == self.has


TRAIN_SO = "the released training sets it by a flag; for a start to train so, change config.json"
KEYS: Mapping[str, Key] = {
    "mm_spatial_pool_mode": Key("bilinear", TRAIN_SO),
    "mm_spatial_pool_stride": Key(2, TRAIN_SO),
    "mm_patch_merge_type": Key("spatial_unpad", "only that one has the newline vector"),
    "mm_projector_type": Key("mlp2x_gelu"),
    "mm_vision_select_feature": Key("patch"),
    "mm_resampler_type": Key(None, "tokens are pooled, not resampled"),
    "add_faster_video": Key(False),
    "hidden_act": Key("silu"),
    "rope_scaling": Key(None),
    "use_sliding_window": Key(False),
    "world_position_embedding_type": Key(POSITIONS),
    "voxel_size": Key(0.1),
    "min_xyz_range": Key([-15, -15, -5]),
    "max_xyz_range": Key([15, 15, 5]),
    "object_feature_type": Key(
        RELEASED_OBJECTS, "others pool another map: see object_membership of the student"
    ),
    HEAD_KEY: Key("infonce"),
    "ground_head_temperature": Key(0.07, "Multi3DRefer counts by probabilities at that one"),
}
"""`mm_vision_select_layer` is ignored by their code, too: the last kept layer is read. `vocab_size`
and `tie_word_embeddings` are overridden there at evaluation; the tables' own shape counts here."""


@dataclass(frozen=True)
class Follows:
    """A value of a key that settings of the student must go with."""

    value: str
    settings: str
    holds: Callable[[StudentSettings], bool]


SETTINGS: Mapping[str, Follows] = {
    "world_position_embedding_type": Follows(
        POSITIONS,
        "position_encoding: true and coord_input: encoding",
        lambda config: config.position_encoding and config.coord_input == "encoding",
    ),
    "object_feature_type": Follows(
        RELEASED_OBJECTS,
        "object_membership: released and object_features: vision (3DRS: both)",
        lambda config: config.object_membership == "released" and config.object_features != "llm",
    ),
}
"""Keys that the student's own settings must go with."""


def refuse_contradictions(
    folder: Path,
    stored: Mapping[str, Any],
    tensors: Mapping[str, StoredTensor],
    config: StudentSettings,
    for_use: bool = True,
) -> None:
    """Refuse weights that this student would read as another model than they are.

    Args:
        folder: of the weights.
        stored: its config.json.
        tensors: by name.
        config: of the student.
        for_use: whether settings of use must fit, too.

    Raises:
        CheckpointError: names everything that does not fit, and what would.
    """
    faults = _wrong_keys(stored, config.newline)
    if for_use:
        faults += _wrong_settings(stored, config)
    if faults:
        raise CheckpointError(f"{folder}/config.json: " + "; ".join(faults))
    faults = [
        *_missing_parts(stored, tensors),
        *_unknown(stored, tensors),
        *_wrong_rows(stored, tensors),
    ]
    if faults:
        raise CheckpointError(f"{folder}: " + "; ".join(faults))


def _wrong_keys(stored: Mapping[str, Any], newline: str) -> list[str]:
    faults = [
        f"{name} is {stored[name]!r}, this student has {key.has!r}: {key.cure}"
        for name, key in KEYS.items()
        if not key.accepts(stored.get(name))
    ]
    # Both models have one layout of tensors; their configuration tells them apart.
    place = stored.get("mm_newline_position")
    if place is not None and NEWLINE_NAMES.get(place) != newline:
        faults.append(
            f"mm_newline_position is {place!r}, which this student does not have; choose kind "
            "llava_video for 'grid', llava_onevision for 'one_token'"
        )
    return faults


def _wrong_settings(stored: Mapping[str, Any], config: StudentSettings) -> list[str]:
    return [
        f"{name} is {key.value!r}: the weights were trained so; set the student's {key.settings}"
        for name, key in SETTINGS.items()
        if stored.get(name) == key.value and not key.holds(config)
    ]


def _missing_parts(stored: Mapping[str, Any], names: Collection[str]) -> list[str]:
    origin = stored.get("mm_vision_tower") or "SigLIP"
    parts = {
        "model.vision_tower.": (
            f"no vision tower (model.vision_tower.*): add that of {origin}, or the fine-tuned one "
            "if mm_tunable_parts has mm_vision_tower, as another file with its index"
        ),
        "model.mm_projector.": "no projector (model.mm_projector.*)",
        "model.layers.": "no language model (model.layers.*)",
    }
    faults = [f"holds {text}" for prefix, text in parts.items() if not _has(prefix, names)]
    lost = [name for name in HEAD_TENSORS if name not in names]
    if lost and stored.get(HEAD_KEY) is not None and not _has(HEAD_PREFIX, names):
        faults.append(
            f"holds no grounding head (ground_head_*), which {HEAD_KEY} of config.json promises"
        )
    elif lost and _has(HEAD_PREFIX, names):
        faults.append(f"its grounding head lacks {', '.join(lost)}")
    return faults


def _has(prefix: str, names: Collection[str]) -> bool:
    return any(name.startswith(prefix) for name in names)


def _unknown(stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> list[str]:
    """What nobody of this family has, each with what it would be."""
    layers = int(stored.get("num_hidden_layers", 0))
    extra = sorted(
        name for name in tensors if not _is_known(name) or (layers and _layer(name) >= layers)
    )
    if not extra:
        return []
    told = ", ".join(f"{name} in {tensors[name].file}{_meaning(name)}" for name in extra[:MOST])
    more = f", and {len(extra) - MOST} more" if len(extra) > MOST else ""
    verb = "tensor is" if len(extra) == 1 else "tensors are"
    return [f"{len(extra)} {verb} not of this model ({told}{more})"]


def _meaning(name: str) -> str:
    """What a tensor would be that no student has a place for; "" if nobody knows."""
    found = (text for pattern, text in MEANINGS.items() if re.search(pattern, name))
    return next((f": {text}" for text in found), "")


def _is_known(name: str) -> bool:
    known = (*MODEL_NAMES, *DROPPED, r"^lm_head\.", r"^model\.image_newline$")
    return name in HEAD_TENSORS or any(re.search(each, name) for each in known)


def _layer(name: str) -> int:
    found = re.match(r"^model\.layers\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _wrong_rows(stored: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> list[str]:
    """Trained tokens must have rows of their own."""
    ids = trained_ids(stored)
    if not ids or EMBEDDING not in tensors:
        return []
    rows = tensors[EMBEDDING].shape[0]
    if len(set(ids)) == len(TRAINED_IDS) and max(ids) < rows:
        return []
    named = " and ".join(f"{key} {stored.get(key)}" for key in TRAINED_IDS)
    return [f"{named} of config.json are no two rows of the embedding table ({rows} rows)"]


def trained_ids(stored: Mapping[str, Any]) -> tuple[int, ...]:
    """Ids of `<ground>` and `<coord>` as config.json tells them; none where it does not."""
    return tuple(stored[key][0] for key in TRAINED_IDS if stored.get(key))
