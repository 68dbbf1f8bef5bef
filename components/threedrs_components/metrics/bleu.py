"""BLEU-1 to BLEU-4 of a corpus, with the constants of the captioning field's scorer.

Papineni et al., ACL 2002; constants and the choice of reference length as in coco-caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threedrs_components.metrics.ngrams import LONGEST, Ngrams, ngrams

TINY, SMALL = 1e-15, 1e-9
"""Added to numerators and denominators, so that a corpus without matches has a defined score."""

Float64 = NDArray[np.float64]


class BleuReferences:
    """References of a corpus, counted once for any number of hypotheses."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._ceilings: list[Ngrams] = []
        self._lengths: list[list[int]] = []
        for texts in references:
            tokens = [text.split() for text in texts]
            ceiling: Ngrams = Ngrams()
            for words in tokens:
                ceiling |= ngrams(words)
            self._ceilings.append(ceiling)
            self._lengths.append([len(words) for words in tokens])

    def statistics(self, hypotheses: Sequence[str]) -> Float64:
        """Counts per item [N, 10] that add up over a corpus.

        Columns: length of the hypothesis, of the closest reference, guesses 1-4, matches 1-4.
        """
        assert len(hypotheses) == len(self._ceilings)
        rows = np.empty((len(hypotheses), 2 + 2 * LONGEST))
        counted = {text: (len(words := text.split()), ngrams(words)) for text in set(hypotheses)}
        for row, text in enumerate(hypotheses):
            rows[row] = self._item(row, *counted[text])
        return rows

    def _item(self, row: int, size: int, counts: Ngrams) -> list[float]:
        # Of two lengths equally near, the shorter one.
        closest = min(self._lengths[row], key=lambda length: (abs(length - size), length))
        guesses = [max(0, size - length) for length in range(LONGEST)]
        matches = [0] * LONGEST
        ceiling = self._ceilings[row]
        for gram, count in counts.items():
            if gram in ceiling:
                matches[len(gram) - 1] += min(count, ceiling[gram])
        return [size, closest, *guesses, *matches]


def bleu_from_statistics(statistics: ArrayLike) -> Float64:
    """BLEU-1..4 [..., 4] in [0, 1] of summed counts [..., 10]."""
    sums = np.asarray(statistics, dtype=np.float64)
    guesses, matches = sums[..., 2 : 2 + LONGEST], sums[..., 2 + LONGEST :]
    products = np.cumprod((matches + TINY) / (guesses + SMALL), axis=-1)
    scores: Float64 = products ** (1.0 / np.arange(1, LONGEST + 1))
    # Lengths of the whole corpus: one long text may make up for a short one.
    ratio = (sums[..., 0] + TINY) / (sums[..., 1] + SMALL)
    penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return scores * penalty[..., None]


def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Corpus BLEU-1..4 in [0, 1]; tokens are split at whitespace."""
    statistics: NDArray[Any] = BleuReferences(references).statistics(hypotheses)
    return tuple(float(value) for value in bleu_from_statistics(statistics.sum(axis=0)))
