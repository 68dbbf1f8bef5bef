"""MMSI-Bench (Yang et al., 2025): where cameras, objects and regions are, over several images."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from threedrs_components.benchmarks.annotations import Identifier
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

_FRAMES = (r"``([^`]*)``", r"`([^`]*)`", r"\{([^}]*)\}")
"""What may stand round the letter, the outermost first."""


class Question(ChoiceRecord):
    """One row of `MMSI_Bench.parquet`; its options stand in the question, "A: left, B: right"."""

    id: Identifier
    images: list[ImageOf]
    question_type: str
    question: str
    answer: str

    @property
    def choice(self) -> Choice:
        """Both kinds of dashes stand in the types of different revisions."""
        return Choice(
            name=self.id,
            images=tuple(self.images),
            question=self.question.strip(),
            options=count_lettered(self.question, ":"),
            letter=self.answer,
            question_type=self.question_type.replace("\N{EN DASH}", "-"),
        )


class MMSILoader(ChoiceLoader):
    """Reads MMSI-Bench."""

    kind: Literal["mmsi"] = "mmsi"
    record = Question
    published: ClassVar = {"test": ("MMSI_Bench.parquet",)}
    prompt: Annotated[str, template("question")] = (
        "{question}\nAnswer with the option's letter from the given choices directly. Enclose the "
        "option's letter within ``."
    )


class MMSIScorer(ChoiceScorer):
    """Scores MMSI-Bench."""

    kind: Literal["mmsi"] = "mmsi"

    @staticmethod
    def published_letter(text: str, letters: str) -> str:
        """The first letter that stands alone and before no word, within quotes or braces if any."""
        for frame in _FRAMES:
            if found := re.search(frame, text):
                text = found[1]
        alone = re.search(r"\b[A-F]\b(?!\s[a-zA-Z])", text, re.IGNORECASE)
        return alone[0].upper() if alone else ""


class MMSI(Benchmark):
    """Positions, attributes and motions that need more than one image."""

    kind: Literal["mmsi"] = "mmsi"
    loader = MMSILoader
    scorer = MMSIScorer
    protocols: ClassVar = CHOICE_PROTOCOLS
    frames_only = True
