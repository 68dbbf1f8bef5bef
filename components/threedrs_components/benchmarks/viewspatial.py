"""ViewSpatial-Bench (Li et al., 2025): directions for the camera, or a person in the picture."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.choice_scores import CHOICE_PROTOCOLS, ChoiceScorer
from threedrs_components.benchmarks.multi_image_choice import (
    Choice,
    ChoiceLoader,
    ChoiceRecord,
    ImageOf,
    count_lettered,
)
from threedrs_components.benchmarks.wording import template


class Question(ChoiceRecord):
    """One record of `ViewSpatial-Bench.json`; it has no id."""

    question_type: str
    image_path: list[ImageOf]
    question: str
    choices: str
    """Lines "A. left"."""
    answer: str
    """One of these lines."""

    @property
    def choice(self) -> Choice:
        """The answer's letter is the first of it.

        Raises:
            ValueError: the answer is none of the lines.
        """
        answer = self.answer.strip()
        if not answer or answer not in map(str.strip, self.choices.splitlines()):
            raise ValueError(f"the answer {self.answer!r} is none of the lines of choices")
        question = f"Question: {self.question}\nChoices: {self.choices}"
        options = count_lettered(self.choices)
        return Choice("", tuple(self.image_path), question, options, answer[0], self.question_type)


class ViewSpatialLoader(ChoiceLoader):
    """Reads ViewSpatial-Bench. Images are named from the folder that holds `ViewSpatial-Bench/`."""

    kind: Literal["viewspatial"] = "viewspatial"
    record = Question
    published: ClassVar = {"test": ("ViewSpatial-Bench.json",)}
    prompt: Annotated[str, template("question")] = (
        "{question}\nReply only to the corresponding option.\nAnswer:"
    )


class ViewSpatialScorer(ChoiceScorer):
    """Scores ViewSpatial-Bench."""

    kind: Literal["viewspatial"] = "viewspatial"

    @staticmethod
    def published_letter(text: str, letters: str) -> str:
        """The first letter that stands alone in the last line; the article "a" is one, too."""
        found = re.search(r"\b([A-D])\b", text.split("\n")[-1], re.IGNORECASE)
        return found[1].upper() if found else ""


class ViewSpatial(Benchmark):
    """Directions from several points of view."""

    kind: Literal["viewspatial"] = "viewspatial"
    loader = ViewSpatialLoader
    scorer = ViewSpatialScorer
    protocols: ClassVar = CHOICE_PROTOCOLS
    frames_only = True
