"""Questions about clips whose answer is an option's letter or a number, and how they are asked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator

from threedrs_components.benchmarks.annotations import Identifier, Record, is_amount

if TYPE_CHECKING:
    from threedrs_components.benchmarks.wording import Wording

CHOICE_PROMPT = (
    "These are frames of a video.\n{question}\nOptions:\n{options}\n"
    "Answer with the option's letter from the given choices directly."
)


class ClipQuestion(Record):
    """What the records of VSI-Bench and ReVSI share."""

    numeric: ClassVar[Collection[str]]
    """Types whose answer is a number."""
    question_type: str
    question: str
    options: list[str] | None = None
    ground_truth: Identifier | Annotated[float, Field(strict=True)]

    @property
    @abstractmethod
    def clip(self) -> str:
        """The scene of its clip.

        Raises:
            ValueError: it names none.
        """

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        _ = self.clip
        truth, letters = str(self.ground_truth), ascii_uppercase[: len(self.options or ())]
        if self.question_type in self.numeric:
            if not is_amount(truth):
                raise ValueError("ground_truth must be a number, 0 or more")
        elif not self.options:
            raise ValueError(f"options are needed for {self.question_type}")
        elif truth.upper() not in tuple(letters):
            raise ValueError(f"ground_truth {truth!r} is none of the options' letters {letters}")
        return self

    def prompt(self, wording: Wording, split: str, choice: str, number: str) -> str:
        """The question as it is asked.

        Args:
            wording: what stands around it.
            split: whose wording.
            choice: template of questions with options.
            number: template of the others.
        """
        if self.question_type in self.numeric:
            return wording.render(number, split, question=self.question)
        options = "\n".join(self.options or ())
        return wording.render(choice, split, question=self.question, options=options)
