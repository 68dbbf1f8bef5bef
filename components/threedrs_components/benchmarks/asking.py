"""How the questions of a benchmark are put to a student. Imports no torch."""

from __future__ import annotations

from typing import Literal

from threedrs_platform.config import Config

CandidateChoice = Literal["proposals", "ground_truth"]
"""Boxes among which an evaluated scene is grounded. ground_truth is an oracle: true boxes are
easier than any published setting, so nothing falls back on them."""
MissingScenes = Literal["refuse", "leave_out"]
"""What is done about questions on scenes that are not there: none is asked at all, or they are left
out of the score, counted and shown by data set. Never do they count as wrong."""
MAX_NEW_TOKENS = 64


class Asking(Config):
    """What a student is given beside the words."""

    max_new_tokens: int = MAX_NEW_TOKENS
    frames_only: bool = False
    """No 3D encoding, whatever the student was trained with."""
    candidates: CandidateChoice = "proposals"
