"""VSI-Bench's kinds of question, and the record of its files."""

from __future__ import annotations

from typing import ClassVar, Literal

from threedrs_components.benchmarks.annotations import Identifier
from threedrs_components.benchmarks.clip_questions import ClipQuestion
from threedrs_components.scenes.clip_names import scene_of

NUMERIC = {
    "object_counting": "object_counting",
    "object_abs_distance": "abs_distance",
    "object_size_estimation": "object_size",
    "room_size_estimation": "room_size",
}
DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
CHOICE = {
    "object_rel_distance": "rel_distance",
    **dict.fromkeys(DIRECTIONS, "rel_direction"),
    "route_planning": "route_planning",
    "obj_appearance_order": "appearance_order",
}
TASK_OF = {**NUMERIC, **CHOICE}
TASKS = tuple(dict.fromkeys(TASK_OF.values()))
"""The eight tasks in the order the paper prints them."""
KINDS_OF = {task: tuple(kind for kind in TASK_OF if TASK_OF[kind] == task) for task in TASKS}

QuestionType = Literal[
    "object_counting",
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
    "object_rel_distance",
    "object_rel_direction_easy",
    "object_rel_direction_medium",
    "object_rel_direction_hard",
    "route_planning",
    "obj_appearance_order",
]


class Question(ClipQuestion):
    """One record."""

    numeric: ClassVar = NUMERIC
    id: Identifier | None = None
    dataset: str
    scene_name: Identifier
    question_type: QuestionType
    pruned: bool | None = None
    """Whether the debiased benchmark leaves it out: it can be answered without looking."""

    @property
    def clip(self) -> str:
        """Of its clip."""
        return scene_of(self.dataset, self.scene_name)
