"""InternVL: InternViT without its class token, pixel shuffle, and a Qwen that counts frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from threedrs_components.students.internvl.layout import (
    OPENGVLAB,
    PARTS,
    QKV,
    is_tied,
    renamed,
    text_config,
    vision_config,
)
from threedrs_components.students.pixels import normalised
from threedrs_components.students.settings import MicroWidths, Part, StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import (
    MICRO_CHAT,
    NUMBER,
    QWEN_CHAT,
    ChatMarkup,
    StoredWords,
    StudentTokenizer,
)
from threedrs_components.students.weight_files import stored_tensors
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.students.internvl.config import InternVLStudentConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PLACEHOLDER = "<IMG_CONTEXT>"
"""Of a visual token, in all releases; its id differs."""
FRAME_NAMES = {"Frame1": f"Frame{NUMBER}: ", "Frame-1": f"Frame-{NUMBER}: "}


class InternVL(Student):
    """A student of class `InternVLForConditionalGeneration` with Qwen2.5: InternVL3."""

    model_class: ClassVar[type[PreTrainedModel]] = InternVLForConditionalGeneration
    micro_chat = replace(MICRO_CHAT, frame_start="<frame>", frame_end="</frame>")
    real_chat = replace(
        QWEN_CHAT,
        header="<|im_start|>user\n",
        opening="",
        frame_start="<img>",
        frame_end="</img>\n",
    )
    visual_token = "image_token_id"
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.vision_tower.", "vision"),
        ("model.multi_modal_projector.", "projector"),
    )
    language: ClassVar[str] = "qwen2"
    """What transformers calls the language model."""

    @classmethod
    def markup(cls, config: StudentSettings) -> ChatMarkup:
        """With the name of frames, and a system's turn where one is asked for."""
        chat = _named(super().markup(config), config)
        system = cast("InternVLStudentConfig", config).system
        turn = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
        return replace(chat, header=turn + chat.header)

    @classmethod
    def micro_markup(cls, config: StudentSettings) -> ChatMarkup:
        """With the name of frames."""
        return _named(super().micro_markup(config), config)

    @classmethod
    def micro_fields(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> dict[str, Any]:
        """Tower and language model; layers of the tower count in full from the start."""
        return {
            "vision_config": {
                "hidden_size": widths.vision_width,
                "intermediate_size": widths.vision_ff,
                "num_hidden_layers": widths.vision_layers,
                "num_attention_heads": widths.vision_heads,
                "image_size": widths.image_size,
                "patch_size": widths.patch_size,
                "attention_bias": True,
                "layer_scale_init_value": 1.0,
            },
            "text_config": {
                "model_type": cls.language,
                "tie_word_embeddings": False,
                **cls.head_fields(widths),
            },
            "image_token_id": tokenizer.visual_id,
        }

    @classmethod
    def head_fields(cls, widths: MicroWidths) -> dict[str, Any]:
        """What the language model's configuration says of its heads beside their number."""
        return {}

    @classmethod
    def published_config(
        cls, folder: Path, stored: Mapping[str, Any], words: StoredWords
    ) -> tuple[PretrainedConfig, Mapping[str, str] | None]:
        """Either layout, with what transformers would take for granted said of these weights."""
        tensors = stored_tensors(folder)
        # Any: its parts are configurations of classes that only their files name.
        config: Any
        if stored["model_type"] == OPENGVLAB:
            config = opengvlab_config(stored)
        else:
            config = InternVLConfig.from_pretrained(folder)
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = is_tied(
            stored, tensors
        )
        if "attention_bias" not in vision_config(stored) and stored["model_type"] != OPENGVLAB:
            biases = [name for name in tensors if "vision_tower" in name and "q_proj.bias" in name]
            config.vision_config.attention_bias = bool(biases)
        config.image_token_id = _placeholder(folder, stored, words)
        return config, None

    @classmethod
    def published_tensors(cls, folder: Path, stored: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """OpenGVLab's, renamed, with queries, keys and values of the tower apart."""
        if stored["model_type"] != OPENGVLAB:
            return None
        tensors: dict[str, Tensor] = {}
        for file in sorted({each.file for each in stored_tensors(folder).values()}):
            with safe_open(folder / file, framework="pt") as content:
                names = content.keys()
                for name in names:
                    tensors |= converted(name, content.get_tensor(name))
        return tensors

    def patch_states(self, images: Tensor) -> Tensor:
        """The tower's last block, which no norm follows, without the class token."""
        pixels = normalised(images, IMAGENET_MEAN, IMAGENET_STD, self.dtype)
        states: Tensor = self.model.model.vision_tower(pixel_values=pixels).last_hidden_state
        return states[:, 1:]

    def patches(self, images: Tensor) -> Tensor:
        """One token per square of 2 x 2 patches: they are put side by side, then projected."""
        rows = self.image_size // self.patch_size
        states = torch.unflatten(self.patch_states(images), 1, (rows, rows))
        squares = self.model.model.pixel_shuffle(states, scale_factor=0.5)
        tokens: Tensor = self.model.model.multi_modal_projector(squares)
        return tokens

    @property
    def grid(self) -> int:
        """As configured: the position table is interpolated for frames of another size."""
        return self.config.grid

    @property
    def image_size(self) -> int:
        """Side of the frames, a whole number of squares."""
        return 2 * self.grid * self.patch_size

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that the patch embedding reads."""
        return int(self.model.config.vision_config.patch_size[0])

    @property
    def vision_width(self) -> int:
        """Width of the tower's states."""
        return int(self.model.config.vision_config.hidden_size)


class InternVL35(InternVL):
    """The same with Qwen3: InternVL3.5."""

    language = "qwen3"

    @classmethod
    def head_fields(cls, widths: MicroWidths) -> dict[str, Any]:
        """Without a width of heads, transformers would take 128 whatever the model's width."""
        return {"head_dim": widths.width // widths.heads}


def _named(chat: ChatMarkup, config: StudentSettings) -> ChatMarkup:
    name = cast("InternVLStudentConfig", config).frame_name
    return replace(chat, frame_start=FRAME_NAMES[name] + chat.frame_start)


def opengvlab_config(stored: Mapping[str, Any]) -> InternVLConfig:
    """The transformers configuration that OpenGVLab's own translates to."""
    vision = vision_config(stored)
    # Which attention a machine can compute is no fact of the weights.
    text = {name: value for name, value in text_config(stored).items() if "attn_impl" not in name}
    config_class: Any = AutoConfig
    return InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=vision["hidden_size"],
            intermediate_size=vision["intermediate_size"],
            num_hidden_layers=vision["num_hidden_layers"],
            num_attention_heads=vision["num_attention_heads"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            attention_bias=vision.get("qkv_bias", False),
            hidden_act=vision.get("hidden_act", "gelu"),
            norm_type=vision.get("norm_type", "layer_norm"),
            layer_norm_eps=vision.get("layer_norm_eps", 1e-6),
        ),
        text_config=config_class.for_model(text.pop("model_type"), **text),
    )


def _placeholder(folder: Path, stored: Mapping[str, Any], words: StoredWords) -> int:
    """Where the tokenizer has it, which config.json must not contradict."""
    found, stated = words.tokenizer.token_to_id(PLACEHOLDER), stored.get("image_token_id")
    if found is None or stated not in (None, found):
        raise CheckpointError(
            f"{folder}: config.json has its placeholder of visual tokens at {stated}, the "
            f"tokenizer has {PLACEHOLDER} at {found}; take the tokenizer that was published with "
            "the weights"
        )
    return int(found)


def converted(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One stored tensor under transformers names; the parts of a stack are views of it."""
    if not QKV.match(name):
        return {renamed(name): tensor}
    parts = zip(PARTS, tensor.chunk(len(PARTS)), strict=True)
    return {renamed(name.replace("qkv", part)): each for part, each in parts}
