"""ROUGE-L as captioning uses it: best precision and best recall over the references, beta 1.2.

Lin, 2004, in the variant of coco-caption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BETA = 1.2


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest run of tokens that both lists hold in the same order, gaps allowed.

    Bit-parallel: bit j of `row` is 0 where the j-th token of `first` lengthens the subsequence.
    """
    places: dict[str, int] = {}
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | (1 << index)
    full = (1 << len(first)) - 1
    row = full
    for token in second:
        hits = row & places.get(token, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()


def rouge_l_item(hypothesis: str, references: Sequence[str]) -> float:
    """ROUGE-L of one text in [0, 1]. Tokens are split at single spaces, so '' has one token."""
    words = hypothesis.split(" ")
    precision = recall = 0.0
    for reference in references:
        target = reference.split(" ")
        common = longest_common_subsequence(words, target)
        # The best of each, maybe of two different references.
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(target))
    if precision == 0.0 or recall == 0.0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """ROUGE-L per item [N]; the corpus score is the mean."""
    return np.array(
        [rouge_l_item(text, texts) for text, texts in zip(hypotheses, references, strict=True)]
    )
