"""How many parameters a student has, from its configuration alone. Imports no torch.

Counts are those of the transformers classes, module by module; a test holds them against models on
the meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import read_object
from threedrs_components.students.published_shapes import OTHERS, PUBLISHED, Shape
from threedrs_components.students.qwen3_vl.config import Qwen3VLStudentConfig
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.errors import CheckpointError


@dataclass(frozen=True)
class TextSize:
    """A decoder of the Llama family, gated and with grouped queries."""

    vocabulary: int
    width: int
    ff: int
    layers: int
    heads: int
    key_value_heads: int
    biased: bool
    """Whether queries, keys and values have biases: Qwen2 yes, Llama no."""
    tied: bool = False
    """Whether the word table is the output table, too."""
    head_width: int | None = None
    """Of one head; None where all of them together are as wide as the states."""
    head_norms: bool = False
    """Whether queries and keys are normalised head by head: Qwen3 yes."""

    @property
    def query_width(self) -> int:
        """Columns of queries."""
        return self.heads * (self.head_width or self.width // self.heads)

    @property
    def key_value_width(self) -> int:
        """Columns of keys, and of values."""
        return self.query_width // self.heads * self.key_value_heads

    @property
    def matrices(self) -> int:
        """Weights of one layer that tokens are multiplied with."""
        return 2 * self.width * (self.query_width + self.key_value_width) + 3 * self.width * self.ff

    @property
    def layer(self) -> int:
        """Parameters of one layer: matrices, biases, norms."""
        biases = self.query_width + 2 * self.key_value_width if self.biased else 0
        norms = 2 * self.width + (2 * self.query_width // self.heads if self.head_norms else 0)
        return self.matrices + biases + norms

    @property
    def tables(self) -> int:
        """Word tables."""
        return (1 if self.tied else 2) * self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """Layers, final norm, word tables."""
        return self.layers * self.layer + self.width + self.tables


@dataclass(frozen=True)
class VisionSize:
    """A vision transformer."""

    width: int
    ff: int
    layers: int
    patch: int
    matrices: int
    """Weights of one layer that patches are multiplied with."""
    layer: int
    """Parameters of one layer."""
    outside: int
    """Parameters beside the layers: embeddings and norms."""
    merged: int = 1
    """Patches that the projector reads as one."""

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.layers * self.layer + self.outside


@dataclass(frozen=True)
class StudentSize:
    """A student's parts; the ones that fine-tuning can freeze."""

    vision: VisionSize
    projector: int
    """Between tower and language model, a learned newline vector with it."""
    text: TextSize
    source: str
    """Where the sizes are from, for people."""
    frame_marks: int = 0
    """Positions that a frame takes beside its tokens."""

    @property
    def parameters(self) -> int:
        """All of the published model."""
        return self.vision.parameters + self.projector + self.text.parameters

    @property
    def grounding_head(self) -> int:
        """Two MLPs of one hidden layer with a norm each, and the vector for "no object"."""
        width = self.text.width
        return width + 2 * (2 * (width * width + width) + 2 * width)

    def alignment_head(self, teacher_width: int, hidden: int | None) -> int:
        """Two layers from the student's width to the teacher's; the hidden one is twice as wide."""
        width = self.text.width
        hidden = hidden or 2 * width
        return (width + 1) * hidden + (hidden + 1) * teacher_width


FRAME_MARKS = {"qwen2_vl": 2, "qwen2_5_vl": 2, "qwen3_vl": 2, "internvl": 8}
"""A mark before every frame and one behind it; for InternVL `Frame12: <img>`, `</img>`, newline."""


def student_size(student: StudentSettings) -> StudentSize | None:
    """The size of a student: of its checkpoint where that is here, else of what is published.

    None for a kind whose sizes nobody has written down, or a configuration of another model.
    """
    if student.kind not in PUBLISHED:
        return None
    other = OTHERS.get((student.kind, student.variant))
    text, tower = other or PUBLISHED[student.kind]
    if student.size == "micro":
        return _micro(student, "head_dim" in text)
    stored = _stored(student.checkpoint)
    is_known = student.size == [*student.real_layers][-1] or other is not None
    if stored is None and not is_known:
        return None
    if stored is None:
        tied = bool(text.get("tie_word_embeddings", False))
        absent = "published sizes, for its checkpoint is absent"
        return _size(student, text, tower, tied, absent)
    try:
        own = stored.get("text_config") or stored.get("llm_config") or stored
        return _size(
            student,
            {name: own.get(name, text[name]) for name in text},
            {**tower, **_sides(stored.get("vision_config") or {})},
            bool(stored.get("tie_word_embeddings", own.get("tie_word_embeddings", False))),
            "config.json of its checkpoint",
        )
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _stored(checkpoint: str | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    try:
        stored = read_object(Path(checkpoint) / "config.json")
    except CheckpointError:
        return None  # whoever checks the start says what is wrong with it
    return stored.get("model") or stored  # a folder that `save_student` wrote


def _sides(tower: Shape) -> dict[str, Any]:
    """The same, with one number where the sides of a square are a pair."""
    return {name: _side(each) if name in SQUARES else each for name, each in tower.items()}


SQUARES = ("image_size", "patch_size")


def _side(sides: Any) -> Any:
    return sides[0] if isinstance(sides, list | tuple) else sides


def _micro(student: StudentSettings, says_head: bool) -> StudentSize:
    sizes = student.micro
    text = {
        "vocab_size": MICRO_WORDS,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.ff,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
    }
    if says_head:
        text["head_dim"] = sizes.width // sizes.heads
    tower = {
        "depth": sizes.vision_layers,
        "num_hidden_layers": sizes.vision_layers,
        "embed_dim": sizes.vision_width,
        "hidden_size": sizes.vision_width,
        "mlp_ratio": sizes.vision_ff // sizes.vision_width,
        "intermediate_size": sizes.vision_ff,
        "image_size": sizes.image_size,
        "patch_size": sizes.patch_size,
        "num_position_embeddings": (sizes.image_size // sizes.patch_size) ** 2,
        "deepstack_visual_indexes": range(min(3, sizes.vision_layers, sizes.layers - 1)),
    }
    return _size(student, text, tower, False, "its micro sizes, with about 500 words")


MICRO_WORDS = 500
"""About: the micro tokenizer is made of the words of the micro world."""


def _size(
    student: StudentSettings, text: Shape, tower: Shape, tied: bool, source: str
) -> StudentSize:
    kind = student.kind
    language = TextSize(
        vocabulary=text["vocab_size"],
        width=text["hidden_size"],
        ff=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        key_value_heads=text["num_key_value_heads"],
        # Among these models only Qwen3's configuration says how wide a head is.
        biased=kind != "llava_next_video" and "head_dim" not in text,
        tied=tied,
        head_width=text.get("head_dim"),
        head_norms="head_dim" in text,
    )
    vision, projector = _TOWERS[kind](tower, language.width)
    if isinstance(student, Qwen3VLStudentConfig):
        mergers = _deepstack_mergers(tower, language.width)
        if student.deepstack_mergers == "vision":
            vision = replace(vision, outside=vision.outside + mergers)
        else:
            projector += mergers
    return StudentSize(vision, projector, language, source, FRAME_MARKS.get(kind, 0))


def _siglip(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, patch = tower["hidden_size"], tower["patch_size"]
    rows = tower["image_size"] // patch
    embeddings = (3 * patch * patch + 1 + rows * rows) * own
    return _plain_tower(tower, embeddings + 2 * own), _mlp(own, width) + width


def _clip(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, patch = tower["hidden_size"], tower["patch_size"]
    rows = tower["image_size"] // patch
    # A class token with a position of its own, no bias, a norm before and one behind.
    embeddings = (3 * patch * patch + 1 + rows * rows + 1) * own
    return _plain_tower(tower, embeddings + 4 * own), _mlp(own, width) + width


def _internvit(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, ff = tower["hidden_size"], tower["intermediate_size"]
    matrices = 4 * own * own + 2 * own * ff
    # Two scales beside the two norms.
    layer = matrices + 4 * own + ff + own + 4 * own + 2 * own
    patch, merged = tower["patch_size"], 4 * own
    rows = tower["image_size"] // patch
    # A class token with a position of its own; no norm before or behind.
    embeddings = (3 * patch * patch + 1 + rows * rows + 1 + 1) * own
    projector = 2 * merged + _mlp(merged, width)
    depth = tower["num_hidden_layers"]
    return VisionSize(own, ff, depth, patch, matrices, layer, embeddings, 4), projector


def _plain_tower(tower: Shape, outside: int) -> VisionSize:
    own, ff = tower["hidden_size"], tower["intermediate_size"]
    matrices = 4 * own * own + 2 * own * ff
    layer = matrices + 4 * own + ff + own + 4 * own
    return VisionSize(
        own, ff, tower["num_hidden_layers"], tower["patch_size"], matrices, layer, outside
    )


def _qwen2_vl(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, ff = tower["embed_dim"], int(tower["embed_dim"] * tower["mlp_ratio"])
    matrices = 4 * own * own + 2 * own * ff
    layer = matrices + 4 * own + ff + own + 4 * own
    patch, merged = tower.get("patch_size", 14), 4 * own
    embedding = 3 * 2 * patch * patch * own
    merger = 2 * own + (merged + 1) * merged + (merged + 1) * width
    return VisionSize(own, ff, tower["depth"], patch, matrices, layer, embedding, 4), merger


def _qwen2_5_vl(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, ff = tower["hidden_size"], tower["intermediate_size"]
    matrices = 4 * own * own + 3 * own * ff
    layer = matrices + 4 * own + 2 * ff + own + 2 * own
    patch, merged = tower.get("patch_size", 14), 4 * own
    embedding = 3 * 2 * patch * patch * own
    merger = own + (merged + 1) * merged + (merged + 1) * width
    return VisionSize(own, ff, tower["depth"], patch, matrices, layer, embedding, 4), merger


def _qwen3_vl(tower: Shape, width: int) -> tuple[VisionSize, int]:
    own, ff = tower["hidden_size"], tower["intermediate_size"]
    matrices = 4 * own * own + 2 * own * ff
    layer = matrices + 4 * own + ff + own + 4 * own
    patch, merged = tower["patch_size"], 4 * own
    embeddings = (3 * 2 * patch * patch + 1 + tower["num_position_embeddings"]) * own
    merger = 2 * own + (merged + 1) * merged + (merged + 1) * width
    return VisionSize(own, ff, tower["depth"], patch, matrices, layer, embeddings, 4), merger


def _deepstack_mergers(tower: Shape, width: int) -> int:
    """One per map; their norm is over the four patches of a token together."""
    merged = 4 * tower["hidden_size"]
    one = 2 * merged + (merged + 1) * merged + (merged + 1) * width
    return len(tower["deepstack_visual_indexes"]) * int(one)


def _mlp(inputs: int, width: int) -> int:
    return (inputs + 1) * width + (width + 1) * width


_TOWERS: Mapping[str, Callable[[Shape, int], tuple[VisionSize, int]]] = {
    "internvl": _internvit,
    "llava_video": _siglip,
    "llava_onevision": _siglip,
    "llava_next_video": _clip,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
}
