"""LLaVA-Video: every row of a frame's tokens ends in the newline vector."""

from __future__ import annotations

from threedrs_components.students.siglip_qwen2 import SiglipQwen2


class LlavaVideo(SiglipQwen2):
    """14 rows of 14 + 1 positions per frame at full size ("grid" in its own configuration)."""

    real_newline = "row"
