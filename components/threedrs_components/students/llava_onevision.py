"""LLaVA-OneVision: one newline vector behind the last frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from threedrs_components.students.real_weights import LLAVA_HF, LMMS_LAB
from threedrs_components.students.siglip_qwen2 import SiglipQwen2
from threedrs_components.students.tokenizer import MICRO_CHAT


class LlavaOneVision(SiglipQwen2):
    """14 rows of 14 positions per frame at full size, and one more at the very end."""

    micro_chat = replace(MICRO_CHAT, newline="end")
    published: ClassVar[Mapping[str, str]] = {
        LMMS_LAB: "lmms-lab/llava-onevision-qwen2-7b-ov",
        LLAVA_HF: "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    }
    real_newline = "end"
