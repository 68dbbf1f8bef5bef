"""What every objective says of itself. Imports no torch: a grid validates in milliseconds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from threedrs_components.students.places import Place
from threedrs_platform.config import Config

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student

Per = Literal["question", "scene"]
Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Share:
    """A curve of counts: how many of the questions that were asked are answered rightly."""

    name: str
    """Of the curve, behind the objective's name, or behind "validation"."""
    right: str
    """The reported part that counts right answers."""
    asked: str
    """The reported part that counts questions."""


class ObjectiveSettings(Config):
    """One term of the training loss: its weight, and what it asks of data and student.

    A subclass adds what can be chosen, gives the facts below, and builds the loss itself. It is the
    only subclass in its module, and an entry of `ObjectivesConfig` under its `name`.
    """

    weight: float = Field(default=0.0, ge=0)
    """Weight in the sum of all losses; 0 switches the objective off."""

    name: ClassVar[str]
    """What grid files and curves call it."""
    per: ClassVar[Per]
    """What its loss is a mean over. A loss per question is that of a task: it is measured on
    held-out scenes, too, which come without targets."""
    shares: ClassVar[tuple[Share, ...]] = ()
    has_student_head: ClassVar[bool] = False
    """Whether a head that belongs to the student, and that no setting freezes, learns from it."""

    @property
    def is_on(self) -> bool:
        """Whether it is wanted."""
        return self.weight > 0

    # The next six a class may fix by a ClassVar of the same name.
    @property
    def reads_teacher(self) -> bool:
        """Whether it compares with what a teacher makes of the scenes, and so needs a teacher."""
        return False

    @property
    def reads_teacher_features(self) -> bool:
        """Whether that are the teacher's features."""
        return self.reads_teacher

    @property
    def reads_teacher_depth(self) -> bool:
        """Whether that is the teacher's depth."""
        return False

    @property
    def compares_frames(self) -> bool:
        """Whether it compares tokens of the student's frames with the teacher's of the same."""
        return False

    @property
    def needs_other_scene(self) -> bool:
        """Whether a scene is given what belongs to another one."""
        return False

    @property
    def reads_geometry(self) -> bool:
        """Whether it needs to know where things are, and so depth and cameras."""
        return False

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """Places whose states at the visual tokens it reads; -1 is the last layer."""
        return ()

    @property
    def picture_side(self) -> int:
        """Pixels of the side of the bird's-eye view that it reads; 0 reads none."""
        return 0

    @property
    def loss_part(self) -> str:
        """The curve of its loss, before it is weighted."""
        return f"loss/{self.name}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of everything that it reports: its loss, counts, losses of single layers."""
        counts = (count for share in self.shares for count in (share.right, share.asked))
        return (self.loss_part, *counts)

    @property
    def validation_curves(self) -> dict[str, Direction]:
        """What looks at held-out scenes draw of it, and which way is better."""
        if self.per == "scene":
            return {}
        shares = (f"validation/{share.name}" for share in self.shares)
        return {f"validation/{self.loss_part}": "minimize", **dict.fromkeys(shares, "maximize")}

    def curve(self, share: Share) -> str:
        """What the curve of a share is called in training."""
        return f"{self.name}/{share.name}"

    def modules(self) -> tuple[str, ...]:
        """Modules that its code imports by a name in its settings: no import statement tells."""
        return ()

    @abstractmethod
    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss itself.

        Args:
            student: to be trained.
            teacher: features of the scenes to train on; given to objectives that read a teacher.
        """
