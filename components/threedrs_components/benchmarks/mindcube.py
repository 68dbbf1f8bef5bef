"""MindCube (Yin et al., 2025): what lies beside and behind, from two to four views of a place."""

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
    count_lettered,
)

_IN_ANSWER = ("[Mm]y answer is ([A-E])", "[Tt]he answer is ([A-E])", r"\b([A-E])\b")
_ANYWHERE = (
    r"(?:^|\n)(?:Answer: )?([A-E])(?:$|\s)",
    r'[*"]([A-E])[*"]',
    r"\bAnswer:?\s*([A-E])\b",
    "[Mm]y answer is ([A-E])",
    "answer is ([A-E])",
)


class Question(ChoiceRecord):
    """One line of `MindCube_tinybench.jsonl`; its options stand in the question."""

    id: Identifier
    question: str
    images: list[ImageOf]
    gt_answer: str

    @property
    def choice(self) -> Choice:
        """The type is the first word of the id; "aroundnew" is "around"."""
        kind = self.id.partition("_")[0].replace("aroundnew", "around")
        options = count_lettered(self.question)
        return Choice(self.id, tuple(self.images), self.question, options, self.gt_answer, kind)


class MindCubeLoader(ChoiceLoader):
    """Reads MindCube. Images are named from the folder that holds `other_all_image`."""

    kind: Literal["mindcube"] = "mindcube"
    record = Question
    published: ClassVar = {
        split: tuple(f"{folder}{name}" for folder in ("", "raw/", "data/raw/"))
        for split, name in (
            ("tinybench", "MindCube_tinybench.jsonl"),
            ("test", "MindCube.jsonl"),
            ("train", "MindCube_train.jsonl"),
        )
    }


class MindCubeScorer(ChoiceScorer):
    """Scores MindCube."""

    kind: Literal["mindcube"] = "mindcube"

    @staticmethod
    def published_letter(text: str, letters: str) -> str:
        """The last letter with a dot; else the last by the first pattern that is found, within
        <Answer> first; else the lowest line that has one alone."""
        named = re.search(r"<Answer>(.*?)(?:<|$)", text, re.DOTALL)
        tries = [("([A-E])\\.", text)]
        tries += [(pattern, named[1]) for pattern in _IN_ANSWER if named]
        tries += [(pattern, text) for pattern in _ANYWHERE]
        for pattern, within in tries:
            if found := re.findall(pattern, within):
                return str(found[-1])
        lines = (re.search(r"\b([A-E])\b", line) for line in reversed(text.split("\n")))
        return next((found[1] for found in lines if found), "")


class MindCube(Benchmark):
    """Where things are that no single view shows together."""

    kind: Literal["mindcube"] = "mindcube"
    loader = MindCubeLoader
    scorer = MindCubeScorer
    protocols: ClassVar = CHOICE_PROTOCOLS
    splits: ClassVar = ("tinybench",)
    frames_only = True
