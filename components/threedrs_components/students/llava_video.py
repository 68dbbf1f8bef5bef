"""LLaVA-Video: every row of a frame's tokens ends in the newline vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from threedrs_components.students.real_weights import LMMS_LAB
from threedrs_components.students.siglip_qwen2 import SiglipQwen2


class LlavaVideo(SiglipQwen2):
    """14 rows of 14 + 1 positions per frame at full size ("grid" in its own configuration)."""

    published: ClassVar[Mapping[str, str]] = {LMMS_LAB: "lmms-lab/LLaVA-Video-7B-Qwen2"}
    real_newline = "row"
