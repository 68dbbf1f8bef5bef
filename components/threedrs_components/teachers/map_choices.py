"""The content-free control of everything that reads a teacher's maps. Imports no torch."""

from __future__ import annotations

from typing import Literal

Control = Literal["none", "other_scene"]
"""none: a scene has its own maps. other_scene: it has those of another scene, always the same."""
