"""What whoever reads a teacher's stored maps may choose of them. Imports no torch."""

from __future__ import annotations

from typing import Literal

Control = Literal["none", "other_scene"]
"""The content-free control. none: a scene has its own maps. other_scene: it has those of another
scene, always the same."""
DEPTH_AND_WEIGHT = "depth over its mean in the scene; weight of its confidence"
"""What the channels of a teacher's stored depth are, in words, as its files say."""
TeacherFrames = Literal["student", "all_images"]
"""Frames that a teacher sees: those of the student, or frames spread over all images on disk."""
