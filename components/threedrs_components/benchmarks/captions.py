"""CIDEr and BLEU-4 of one set of texts against its references, and the best constant answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.bleu import BleuReferences, bleu_from_statistics
from threedrs_components.metrics.cider import CiderReferences
from threedrs_components.metrics.uncertainty import bootstrap_corpus

CONSTANTS_TRIED = 10
"""The best constant answer is looked for among this many most frequent references."""


@dataclass(frozen=True)
class Constants:
    """What always giving the same text would score: the best text for each metric."""

    cider: NDArray[np.float64]
    """[N] per item"""
    bleu4: float


class CaptionScores:
    """References of an evaluated set, prepared once for several sets of hypotheses."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._bleu = BleuReferences(references)
        self._cider = CiderReferences(references)
        self.items = len(references)

    def cider(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """CIDEr per item [N], 0 to 10."""
        return self._cider.scores(texts)

    def bleu4_counts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Counts per item [N, 10] whose sum gives corpus BLEU."""
        return self._bleu.statistics(texts)

    def report(
        self, tally: Tally, texts: Sequence[str], constants: Constants, suffix: str = ""
    ) -> None:
        """Add cider and bleu4 to the tally, with the best constant answer as majority."""
        tally.add(f"cider{suffix}", self.cider(texts), majority=constants.cider, grouped=False)
        counts = self.bleu4_counts(texts)
        interval = bootstrap_corpus(counts, lambda sums: bleu_from_statistics(sums)[..., 3])
        value = float(bleu_from_statistics(counts.sum(axis=0))[3]) if self.items else 0.0
        tally.add_corpus(f"bleu4{suffix}", value, interval, constants.bleu4)


def best_constants(
    scores: CaptionScores,
    frequencies: Counter[str],
    answerable: Sequence[bool] | None = None,
    empty: str = "",
) -> Constants:
    """The constant answers with the best CIDEr and the best BLEU-4.

    Args:
        scores: the prepared references.
        frequencies: how often each reference occurs; the most frequent ones are tried.
        answerable: items that may be answered at all; the others get the empty text.
        empty: how the empty text is written here.
    """
    allowed = [True] * scores.items if answerable is None else list(answerable)
    ranked = sorted(frequencies, key=lambda text: (-frequencies[text], text))
    best_cider, best_bleu = np.zeros(scores.items), 0.0
    for text in ranked[:CONSTANTS_TRIED]:
        constant = [text if may else empty for may in allowed]
        cider = scores.cider(constant)
        if cider.sum() > best_cider.sum():
            best_cider = cider
        bleu = float(bleu_from_statistics(scores.bleu4_counts(constant).sum(axis=0))[3])
        best_bleu = max(best_bleu, bleu)
    return Constants(best_cider, best_bleu)
