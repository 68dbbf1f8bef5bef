"""BLINK (Fu et al., 2024): fourteen kinds of seeing that people do within a blink."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from threedrs_components.benchmarks.annotations import Identifier
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.choice_scores import CHOICE_PROTOCOLS, ChoiceScorer
from threedrs_components.benchmarks.multi_image_choice import (
    Choice,
    ChoiceLoader,
    ChoiceRecord,
    ImageOf,
)

SHORTEST = 4
"""So few signs of a first line are read as a letter with marks."""


class Question(ChoiceRecord):
    """One row of `<task>/<split>-00000-of-00001.parquet`; the answers of test are not published."""

    idx: Identifier
    sub_task: str
    prompt: str
    """The question with its options, "(A) left"."""
    choices: list[str]
    answer: str
    """ "(A)"."""
    image_1: ImageOf
    image_2: ImageOf | None = None
    image_3: ImageOf | None = None
    image_4: ImageOf | None = None

    @property
    def choice(self) -> Choice:
        """Up to four images.

        Raises:
            ValueError: the answer is withheld.
        """
        if self.answer.strip("()") == "hidden":
            raise ValueError("the answers of test are not published; ask the split val")
        images = (self.image_1, self.image_2, self.image_3, self.image_4)
        return Choice(
            name=self.idx,
            images=tuple(image for image in images if image is not None),
            question=self.prompt,
            options=len(self.choices),
            letter=self.answer.strip("()"),
            question_type=self.sub_task,
        )


class BLINKLoader(ChoiceLoader):
    """Reads BLINK: a file for each of its tasks, all or those that are there."""

    kind: Literal["blink"] = "blink"
    record = Question
    published: ClassVar = {"val": ("*/val-00000-of-00001.parquet",)}


class BLINKScorer(ChoiceScorer):
    """Scores BLINK."""

    kind: Literal["blink"] = "blink"

    @staticmethod
    def published_letter(text: str, letters: str) -> str:
        """A short first line that is a letter; else the last behind "answer", or in brackets; else
        the letter that the answer begins with, even as part of a word."""
        option = f"([{letters}])"
        first = text.split("\n", 1)[0].strip()
        if len(first) <= SHORTEST:
            alone = re.match(rf"\(?{option}\)?[.\s:,)]*$", first, re.IGNORECASE)
            if alone:
                return alone[1].upper()
        said = rf"answers?(?:\s+is)?\s*[:\-]?\s*\(?{option}\)?(?![A-Za-z])"
        for pattern in (rf"(?i:{said})", rf"\({option}\)"):  # brackets hold capitals alone
            if found := re.findall(pattern, text):
                return str(found[-1]).upper()
        begins = re.match(rf"[(\s]*{option}", text, re.IGNORECASE)
        return begins[1].upper() if begins else ""


class BLINK(Benchmark):
    """Depth, correspondence, views and eleven other tasks, on one to four images."""

    kind: Literal["blink"] = "blink"
    loader = BLINKLoader
    scorer = BLINKScorer
    protocols: ClassVar = CHOICE_PROTOCOLS
    record_files = 14
    frames_only = True
