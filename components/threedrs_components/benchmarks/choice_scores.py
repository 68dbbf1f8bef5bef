"""Questions whose answer is an option's letter: the half that judges."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from threedrs_components.benchmarks.option_letters import option_letters
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import (
    Evaluation,
    Mask,
    Tally,
    groups_of,
    pair_predictions,
)
from threedrs_platform.records import Prediction, Sample

DIRECT, LMMS_EVAL = "letter", "lmms_eval"
CHOICE_PROTOCOLS = {
    DIRECT: "the option's letter that the answer begins with, bare, in brackets or before a mark",
    LMMS_EVAL: "the letter that lmms-eval's task of this benchmark finds in the answer",
}
_LEADING = re.compile(r"\A[\s(\[{`*\"']*([A-Za-z])(?=[.):,\]}`*\"']|\s*(?:\n|\Z))")


def leading_letter(text: str, letters: str) -> str:
    """The letter that an answer begins with: "B", "(b)", "B. left", but not "Bed"; else empty."""
    found = _LEADING.match(text)
    letter = found[1].upper() if found else ""
    return letter if letter in letters else ""


class ChoiceScorer(Scorer):
    """Scores one kind of question with options."""

    @staticmethod
    @abstractmethod
    def published_letter(text: str, letters: str) -> str:
        """The letter that the authors' evaluation finds in an answer; empty for none.

        Args:
            text: the answer.
            letters: of the question's options.
        """

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """Accuracy over all questions, by type and by data set; a missing answer is wrong.

        Chance is a uniform guess among a question's options, majority the letter that is most often
        right among questions of its type.
        """
        paired = pair_predictions(samples, predictions)
        find = leading_letter if self.protocol == DIRECT else self.published_letter
        letters = [option_letters(sample, row) for row, sample in enumerate(samples)]
        found = [
            "" if item is None else find((item.text or "").strip(), own)
            for item, own in zip(paired, letters, strict=True)
        ]
        tally = Tally(self.kind, self.protocol, samples, _groups(samples))
        right = [
            float(letter == sample.answers[0])
            for letter, sample in zip(found, samples, strict=True)
        ]
        tally.add(
            "accuracy",
            right,
            chance=[1 / len(own) for own in letters],
            majority=_majority(samples),
        )
        tally.say_unread(
            "answers hold no option's letter where this protocol looks for it; they are wrong",
            (
                (repr(item.text), bool(letter))
                for item, letter in zip(paired, found, strict=True)
                if item is not None
            ),
        )
        return tally.evaluation(paired)


def _groups(samples: Sequence[Sample]) -> dict[str, Mask]:
    """By type, and by data set where there are several."""
    datasets = [sample.tags.get("dataset", "") for sample in samples]
    named = dict.fromkeys(filter(None, datasets))
    own = {name: np.array([each == name for each in datasets]) for name in named}
    return {**groups_of(samples), **(own if len(own) > 1 else {})}


def _majority(samples: Sequence[Sample]) -> list[float]:
    """Whether the most frequent letter of a question's type is right [N]; of several the first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.question_type][sample.answers[0]] += 1
    top = {
        kind: min(found, key=lambda letter: (-found[letter], letter))
        for kind, found in counts.items()
    }
    return [float(sample.answers[0] == top[sample.question_type]) for sample in samples]
