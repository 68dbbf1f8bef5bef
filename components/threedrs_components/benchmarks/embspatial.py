"""EmbSpatial-Bench (Du et al., 2024): how objects of a robot's view lie to each other."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, StrictInt

from threedrs_components.benchmarks.annotations import Identifier
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.choice_scores import CHOICE_PROTOCOLS, ChoiceScorer
from threedrs_components.benchmarks.multi_image_choice import (
    Choice,
    ChoiceLoader,
    ChoiceRecord,
    ImageOf,
    letter_at,
    lettered,
)
from threedrs_components.benchmarks.wording import template

ENCODED = ("/9j/", "iVBORw0KGgo")
"""How JPEG and PNG begin in base64; no name of a file does."""


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(ENCODED):
        return base64.b64decode(value, validate=True)
    return value


class Question(ChoiceRecord):
    """One record of `embspatial_bench.json`."""

    question_id: Identifier
    question: str
    answer_options: list[str]
    answer: StrictInt
    """Place of the right option."""
    image: Annotated[ImageOf, BeforeValidator(_decoded)]
    """Base64 in the published file."""
    relation: str = ""
    data_source: str = ""

    @property
    def choice(self) -> Choice:
        """The type is the relation that is asked about."""
        return Choice(
            name=self.question_id,
            images=(self.image,),
            question=f"{self.question}\n{lettered(self.answer_options, ') ')}",
            options=len(self.answer_options),
            letter=letter_at(self.answer),
            question_type=self.relation,
            dataset=self.data_source,
        )


class EmbSpatialLoader(ChoiceLoader):
    """Reads EmbSpatial-Bench."""

    kind: Literal["embspatial"] = "embspatial"
    record = Question
    published: ClassVar = {"test": ("embspatial_bench.json",)}
    prompt: Annotated[str, template("question")] = (
        "Note: You only need to respond with A, B, C, D without providing any additional "
        "information.\n{question}"
    )


class EmbSpatialScorer(ChoiceScorer):
    """Scores EmbSpatial-Bench."""

    kind: Literal["embspatial"] = "embspatial"

    @staticmethod
    def published_letter(text: str, letters: str) -> str:
        """The first letter of the answer, whatever word it begins, behind blanks and brackets."""
        found = re.match(r"[(\s]*([A-Za-z])", text)
        letter = found[1].upper() if found else ""
        return letter if letter in letters else ""


class EmbSpatial(Benchmark):
    """Relations of objects in views of MP3D, AI2-THOR and ScanNet."""

    kind: Literal["embspatial"] = "embspatial"
    loader = EmbSpatialLoader
    scorer = EmbSpatialScorer
    protocols: ClassVar = CHOICE_PROTOCOLS
    frames_only = True
