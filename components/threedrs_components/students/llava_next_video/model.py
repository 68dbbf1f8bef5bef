"""LLaVA-NeXT-Video: CLIP without its last layer, tokens pooled before the projector, Vicuna."""

from __future__ import annotations

from torch import Tensor
from transformers import LlavaNextVideoForConditionalGeneration

from threedrs_components.students.llava import Llava
from threedrs_components.students.pixels import clip_pixels
from threedrs_components.students.tokenizer import ChatMarkup


class LlavaNextVideo(Llava):
    """A student of class `LlavaNextVideoForConditionalGeneration`."""

    model_class = LlavaNextVideoForConditionalGeneration
    layer = -2
    selection = "default"
    real_chat = ChatMarkup(
        header="<s>USER: ", opening="\n", reply=" ASSISTANT: ", end="</s>", visual=""
    )
    # A counter that older files of CLIP carry.
    not_loaded = (r"embeddings\.position_ids$",)

    def unread(self) -> tuple[str, ...]:
        """The tower's end, and the newline vector of single images."""
        last = self.model.config.vision_config.num_hidden_layers - 1
        return (
            "model.vision_tower.post_layernorm.",
            f"model.vision_tower.encoder.layers.{last}.",
            "model.image_newline",
        )

    def pixels(self, images: Tensor) -> Tensor:
        """As for CLIP."""
        return clip_pixels(images, self.dtype)

    def patches(self, images: Tensor) -> Tensor:
        """One token per square of 2 x 2 patches: pooling comes before the projector."""
        pooled = self.model.model.vision_resampler(self.patch_states(images))
        tokens: Tensor = self.model.model.multi_modal_projector(pooled)
        return tokens.reshape(len(images), self.grid, self.grid, -1)

    @property
    def grid(self) -> int:
        """Half the rows of patches."""
        return self.rows // 2
