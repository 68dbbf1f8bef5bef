"""VSI-Bench's kinds of question, and the record of its files."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from threedrs_components.benchmarks.annotations import Identifier, Record, is_amount
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


class Question(Record):
    """One record."""

    id: Identifier | None = None
    dataset: str
    scene_name: Identifier
    question_type: QuestionType
    question: str
    options: list[str] | None = None
    ground_truth: Identifier | Annotated[float, Field(strict=True)]
    pruned: bool | None = None
    """Whether the debiased benchmark leaves it out: it can be answered without looking."""

    @property
    def scene_id(self) -> str:
        """Of its clip."""
        return scene_of(self.dataset, self.scene_name)

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        scene_of(self.dataset, self.scene_name)
        truth, letters = str(self.ground_truth), ascii_uppercase[: len(self.options or ())]
        if self.question_type in NUMERIC:
            if not is_amount(truth):
                raise ValueError("ground_truth must be a number, 0 or more")
        elif not self.options:
            raise ValueError(f"options are needed for {self.question_type}")
        elif truth.upper() not in tuple(letters):
            raise ValueError(f"ground_truth {truth!r} is none of the options' letters {letters}")
        return self
