"""How the questions of a benchmark are put to a student."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from threedrs_platform.config import Config

Candidates = Literal["proposals", "ground_truth"]


class Asking(Config):
    """What prediction has to know of a benchmark."""

    max_new_tokens: PositiveInt = 64
    """Longest answer that is decoded."""
    frames_only: bool = False
    """No 3D encoding, whatever the student was trained with."""
    candidates: Candidates = "proposals"
    """Boxes among which an evaluated scene is grounded. ground_truth is an oracle: true boxes are
    easier than any published setting, so nothing falls back on them."""
