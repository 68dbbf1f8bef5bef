"""Configuration of the text objective: cross-entropy of the answers' tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_platform.config import CONDUCT

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student

TextMask = Literal["clean", "released"]
Normaliser = Literal["learned", "released"]


class TextConfig(ObjectiveSettings):
    """Cross-entropy of the answer tokens."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of this loss in the sum; 0 switches it off."""
    mask: TextMask = "clean"
    """Which tokens are learned. clean: the answer and its end. released: also the head of the
    reply, and every mark of a turn and every line break of the prompt."""
    normaliser: Normaliser = "learned"
    """What a question's summed cross-entropy is divided by. learned: the tokens that the mask lets
    it learn. released: the tokens that the released code labels in the whole sequence, system turn
    and last line break included, whatever the mask: 13 of every question that has one line, and
    its answer. With it a mask chooses tokens and does not weigh the loss against the others."""

    fused: Annotated[bool, CONDUCT] = False
    """Cross-entropy by liger-kernel, which must be installed, on a GPU: the same loss without a
    float32 copy of the logits and their softmax."""

    name: ClassVar[str] = "text"
    per: ClassVar[Per] = "question"

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss, with the mask for the student's tokenizer."""
        from threedrs_components.objectives.text_loss import Text

        if self.fused:
            from threedrs_components.objectives.fused_cross_entropy import check_fused

            check_fused(student.device)
        return Text(self, student.tokenizer)
