"""The contract of an objective: what it may read of a student's pass, and what it gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.students.batches import SceneBatch
from threedrs_components.students.passes import Frames, StudentOutput
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import Encoded


@dataclass(frozen=True)
class TeacherFeatures:
    """Where a teacher's features and depth of the scenes to train on are."""

    folder: Path | None
    """Of the features; there for objectives that read them."""
    scenes: PreparedScenes
    scene_ids: Sequence[str]
    """At least one."""
    depth: Path | None = None
    """Where the teacher's depth of them is; there for objectives that read it."""


@dataclass(frozen=True)
class StudentPass:
    """Some scenes with their questions after the student's pass, on its device."""

    student: Student
    batch: SceneBatch
    output: StudentOutput
    """Hidden states at visual tokens are there for the layers that the settings name."""
    target: Any = None
    """What the objective's `collate` gave; on the device of the data."""
    seeds: tuple[int, ...] = ()
    """One per scene, for what is drawn: the same whoever computes a visit, and with whom."""
    runs_every_head: bool = False
    """Whether an objective must call all its modules, whatever the batch holds for it."""


class Objective(nn.Module):
    """One term of the training loss. Its trainable modules are the heads that it needs."""

    def __init__(self, settings: ObjectiveSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def name(self) -> str:
        """What grid files and curves call it."""
        return self.settings.name

    @property
    def has_target(self) -> bool:
        """Whether it compares a scene with more than the student's batch holds of it."""
        return type(self).target is not Objective.target

    def target(self, scene: PreparedScene) -> Any:
        """What it compares a scene with; kept in memory as long as the scene is."""
        return None

    def collate(self, targets: Sequence[Any]) -> Any:
        """Targets of the scenes of one batch, ready to be computed with."""
        return tuple(targets)

    def mark(self, question: Encoded) -> Encoded:
        """The tokens of a text question, marked as answer where they are to be learned."""
        return question

    def hides(self, step: int, place: str, num_frames: int) -> tuple[bool, ...]:
        """Frames that the student does not see in a visit of a step; empty: it sees all of them.

        Args:
            step: of training.
            place: names the visit.
            num_frames: of the scene.
        """
        return ()

    def seen(self, frames: Frames) -> Frames:
        """Frames as the student is to see them: what stands for hidden ones."""
        return frames

    def is_asked(self, batch: SceneBatch) -> bool:
        """Whether the batch has something for it; without, its heads get no gradient at all."""
        return True

    @abstractmethod
    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's share of the step's loss, and of all that it reports besides.

        Args:
            student_pass: one micro-batch, maybe without anything for it.
            whole: questions or scenes (`settings.per`) of the whole step, over all workers: what
                sums over the batch are divided by.
        """
