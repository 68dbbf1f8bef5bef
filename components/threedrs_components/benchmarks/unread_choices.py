"""Answers to questions about videos that score 0 whatever they mean: no letter, no number."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from threedrs_components.benchmarks.option_letters import option_letters
from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.relative_accuracy import first_word
from threedrs_platform.records import Prediction


def say_unread_choices(
    tally: Tally,
    paired: Sequence[Prediction | None],
    numeric: Collection[str],
    number: Callable[[str], float],
) -> None:
    """Say it where an answer holds no option's letter, or no number, where it is looked for.

    Args:
        tally: of the evaluation; its samples say how many options they have.
        paired: [N] the prediction of each sample.
        numeric: question types that ask for a number.
        number: the number that the protocol finds in a text; NaN for none.
    """
    choices: list[tuple[str, bool]] = []
    numbers: list[tuple[str, bool]] = []
    for row, (sample, item) in enumerate(zip(tally.samples, paired, strict=True)):
        if item is None:
            continue
        text = item.text or ""
        if sample.question_type in numeric:
            numbers.append((repr(text), not math.isnan(number(text))))
            continue
        letters = option_letters(sample, row)
        word = first_word(text).upper()
        choices.append((repr(text), len(word) == 1 and word in letters))
    tally.say_unread(
        "answers do not begin with an option's letter, alone before the first space; they score 0",
        choices,
    )
    tally.say_unread(
        "answers have no number where this protocol looks for one; they score 0", numbers
    )
