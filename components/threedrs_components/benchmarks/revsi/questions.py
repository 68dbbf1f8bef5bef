"""ReVSI's kinds of question, and the record of its files."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from threedrs_components.benchmarks.annotations import Identifier
from threedrs_components.benchmarks.clip_questions import ClipQuestion
from threedrs_components.scenes.clip_names import scene_of

NumberType = Literal[
    "object_counting_single",
    "object_counting_multiple",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation_single",
    "room_size_estimation_multiple",
]
ChoiceType = Literal[
    "object_rel_distance_closest",
    "object_rel_distance_farthest",
    "object_rel_direction_forward_easy",
    "object_rel_direction_forward_hard",
    "object_rel_direction_backward_easy",
    "object_rel_direction_backward_hard",
    "route_planning",
]
NUMERIC: tuple[str, ...] = get_args(NumberType)
PREFIXES = {
    "object_counting": "object_counting",
    "abs_distance": "object_abs_distance",
    "object_size": "object_size_estimation",
    "room_size": "room_size_estimation",
    "rel_distance": "object_rel_distance",
    "rel_direction": "object_rel_direction",
    "route_planning": "route_planning",
}
TASKS: dict[str, tuple[str, ...]] = {
    task: tuple(kind for kind in (*NUMERIC, *get_args(ChoiceType)) if kind.startswith(prefix))
    for task, prefix in PREFIXES.items()
}
"""The seven tasks, each with its kinds of question."""


class Question(ClipQuestion):
    """One record."""

    numeric: ClassVar = NUMERIC
    scene_id: Identifier
    num_frames: Identifier
    """Of its clip: the truth was checked for what these frames show."""
    question_type: NumberType | ChoiceType

    @property
    def clip(self) -> str:
        """The scene of its clip, which lies in a folder for each number of frames."""
        return scene_of(f"{self.num_frames}_frame", self.scene_id)
