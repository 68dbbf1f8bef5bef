"""Qwen2-VL: a tower with two-axis rotary positions that merges 2 x 2 patches, and Qwen2."""

from __future__ import annotations

from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.configuration_qwen2_vl import (
    Qwen2VLTextConfig,
    Qwen2VLVisionConfig,
)

from threedrs_components.students.config import MicroWidths
from threedrs_components.students.qwen_vision import QwenVision
from threedrs_components.students.tokenizer import IMAGE, StudentTokenizer

MAX_POSITIONS = 4096


class Qwen2VL(QwenVision):
    """Real weights: Qwen/Qwen2-VL-7B-Instruct."""

    model_class = Qwen2VLForConditionalGeneration
    model_type = "qwen2_vl"
    published_as = "Qwen/Qwen2-VL-7B-Instruct"

    @classmethod
    def micro_config(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> Qwen2VLConfig:
        """The real architecture in micro widths."""
        vision = Qwen2VLVisionConfig(
            depth=widths.vision_layers,
            embed_dim=widths.vision_width,
            hidden_size=widths.width,
            num_heads=widths.vision_heads,
            mlp_ratio=widths.vision_ff // widths.vision_width,
            patch_size=widths.patch_size,
        )
        text = Qwen2VLTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=widths.width,
            intermediate_size=widths.ff,
            num_hidden_layers=widths.layers,
            num_attention_heads=widths.heads,
            num_key_value_heads=widths.key_value_heads,
            max_position_embeddings=MAX_POSITIONS,
            rope_parameters=micro_rope(widths),
            bos_token_id=None,
            eos_token_id=tokenizer.end_id,
        )
        return Qwen2VLConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=tokenizer.visual_id,
            video_token_id=tokenizer.token_id(IMAGE),
            vision_start_token_id=tokenizer.frame_start[0],
            vision_end_token_id=tokenizer.frame_end[0],
            tie_word_embeddings=False,
        )

    @property
    def vision_width(self) -> int:
        """Of the tower's blocks."""
        return int(self.model.config.vision_config.embed_dim)


def micro_rope(widths: MicroWidths) -> dict[str, object]:
    """Rotary frequencies shared among time, row and column, in the real proportion 2 : 3 : 3."""
    frequencies = widths.width // widths.heads // 2
    time = max(1, frequencies // 4)
    row = (frequencies - time) // 2
    section = [time, row, frequencies - time - row]
    return {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": section}
