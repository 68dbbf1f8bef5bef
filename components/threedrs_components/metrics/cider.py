"""CIDEr as captioning uses it: tf-idf vectors of n-grams, clipped, with a length penalty.

Vedantam et al., CVPR 2015: CIDEr-D without stemming, as coco-caption computes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.ngrams import LONGEST, Ngrams, ngrams

SIGMA = 6.0


@dataclass(frozen=True)
class _Vector:
    weights: dict[tuple[str, ...], float]
    norms: tuple[float, ...]
    bigrams: int


class CiderReferences:
    """References of an evaluated set: fixes the document frequencies all scores depend on."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        counted = [[ngrams(text.split()) for text in texts] for texts in references]
        self._document_frequency: Counter[tuple[str, ...]] = Counter(
            gram for texts in counted for gram in {gram for counts in texts for gram in counts}
        )
        self._log_items = math.log(len(references)) if references else 0.0
        self._vectors = [[self._vector(counts) for counts in texts] for texts in counted]

    def _vector(self, counts: Ngrams) -> _Vector:
        weights, squares, bigrams = {}, [0.0] * LONGEST, 0
        for gram, count in counts.items():
            # A run of words that no reference has counts as if one had it.
            rarity = self._log_items - math.log(max(1, self._document_frequency.get(gram, 0)))
            weights[gram] = weight = count * rarity
            squares[len(gram) - 1] += weight * weight
            bigrams += count if len(gram) == 2 else 0
        return _Vector(weights, tuple(math.sqrt(square) for square in squares), bigrams)

    def scores(self, hypotheses: Sequence[str]) -> NDArray[np.float64]:
        """CIDEr per item [N], 0 to 10; the corpus score is the mean."""
        assert len(hypotheses) == len(self._vectors)
        values = np.zeros(len(hypotheses))
        vectors = {text: self._vector(ngrams(text.split())) for text in set(hypotheses)}
        for row, (text, references) in enumerate(zip(hypotheses, self._vectors, strict=True)):
            vector = vectors[text]
            if references:
                total = sum(_similarity(vector, reference) for reference in references)
                values[row] = 10.0 * total / len(references)
        return values


def _similarity(hypothesis: _Vector, reference: _Vector) -> float:
    products = [0.0] * LONGEST
    for gram, weight in hypothesis.weights.items():
        other = reference.weights.get(gram)
        if other is not None:
            # Only the hypothesis is clipped: repeating a word of the reference gains nothing.
            products[len(gram) - 1] += min(weight, other) * other
    total = 0.0
    for product, norm, other_norm in zip(products, hypothesis.norms, reference.norms, strict=True):
        total += product / (norm * other_norm) if norm and other_norm else product
    # coco-caption measures length in pairs of words.
    difference = hypothesis.bigrams - reference.bigrams
    return total / LONGEST * math.exp(-(difference**2) / (2 * SIGMA**2))


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """CIDEr per item [N], 0 to 10, with document frequencies from these references."""
    return CiderReferences(references).scores(hypotheses)
