"""LLaVA-OneVision: one newline vector behind the last frame."""

from __future__ import annotations

from dataclasses import replace

from threedrs_components.students.siglip_qwen2 import SiglipQwen2
from threedrs_components.students.tokenizer import MICRO_CHAT


class LlavaOneVision(SiglipQwen2):
    """14 rows of 14 positions per frame at full size, and one more at the very end."""

    micro_chat = replace(MICRO_CHAT, newline="end")
    real_newline = "end"
