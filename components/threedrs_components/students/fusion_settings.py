"""Configuration of fusion: a teacher's features added to visual tokens. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from threedrs_components.teachers.map_choices import Control
from threedrs_platform.config import Config


class FusionSettings(Config):
    """Stored teacher maps added to the visual tokens before the language model.

    The student needs the teacher's features of every scene that it is shown, in training and in
    evaluation alike. Facts: design/rivals.md, section 3.
    """

    mode: Literal["none", "add", "cross_attention"] = "none"
    """none: the student sees its frames alone. add: norm and a two-layer MLP of the teacher's
    feature of the same cell (VG-LLM). cross_attention: each visual token asks the teacher's
    features of its own frame (VLM-3R, which does it before the projector)."""
    gate: Literal["zero", "none"] = "zero"
    """zero: what is added is scaled by a learned vector that starts at zero, so the student is
    unchanged at the first step. none: added as it is, as VG-LLM does."""
    width: PositiveInt | None = None
    """Hidden width of the MLP; None is twice the student's width, as in VG-LLM."""
    heads: PositiveInt = 4
    """Of the cross attention; must divide the student's width."""
    control: Control = "none"
    """other_scene: the teacher's maps of another scene, always the same one, in training and in
    evaluation: as many numbers and as many weights, but no content."""

    @property
    def is_on(self) -> bool:
        """Whether anything is added."""
        return self.mode != "none"

    def parameters(self, width: int, teacher_width: int) -> int:
        """Weights of fusion in a student of a width, for a teacher's features of another."""
        gate = width if self.gate == "zero" else 0
        if self.mode == "add":
            hidden = self.width or 2 * width
            merger = (teacher_width + 1) * hidden + (hidden + 1) * width
            return teacher_width + gate + merger
        projections = 2 * width * width + 2 * teacher_width * width + 4 * width
        return teacher_width + gate + width + projections
