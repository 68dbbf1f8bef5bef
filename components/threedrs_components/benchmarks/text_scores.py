"""BLEU, METEOR, ROUGE-L and CIDEr of one set of texts, with intervals and constant baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.scorer import TextMetric
from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.bleu import BleuReferences, bleu_from_statistics
from threedrs_components.metrics.cider import CiderReferences
from threedrs_components.metrics.meteor.scoring import MeteorReferences, meteor_from_statistics
from threedrs_components.metrics.rouge import rouge_l
from threedrs_components.metrics.uncertainty import percentile_interval, resampled_sums

TEXT_METRICS: tuple[TextMetric, ...] = get_args(TextMetric)
CONSTANTS_TRIED = 5
"""The best constant answer is looked for among this many most frequent references."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """What always giving the same text would score: the best text for each metric."""

    cider: Float64
    """[N] per item, 0 to 10"""
    bleu4: float


class TextScores:
    """References of an evaluated set, prepared once for several sets of hypotheses."""

    def __init__(
        self, references: Sequence[Sequence[str]], metrics: Sequence[str] = TEXT_METRICS
    ) -> None:
        self.metrics = tuple(name for name in TEXT_METRICS if name in metrics)
        self._references = references
        self._bleu = BleuReferences(references)
        self._cider = CiderReferences(references)
        self._meteor = MeteorReferences(references) if "meteor" in metrics else None

    def segments(self, name: str, texts: Sequence[str]) -> Float64:
        """One metric per item [N], in [0, 1] (CIDEr up to 10)."""
        if name == "cider":
            return self._cider.scores(texts)
        if name == "rouge_l":
            return rouge_l(texts, self._references)
        if name == "meteor":
            return meteor_from_statistics(self._meteor_counts(texts))
        return bleu_from_statistics(self._bleu.statistics(texts))[:, int(name[-1]) - 1]

    def _meteor_counts(self, texts: Sequence[str]) -> Float64:
        assert self._meteor is not None, "meteor was not asked for"
        return self._meteor.statistics(texts)

    def report(
        self,
        tally: Tally,
        texts: Sequence[str],
        suffix: str = "",
        constants: Constants | None = None,
    ) -> None:
        """Add every metric of the whole set to the tally."""
        self._report_bleu(tally, texts, suffix, constants.bleu4 if constants else None)
        if "meteor" in self.metrics:
            counts = self._meteor_counts(texts)
            value = float(meteor_from_statistics(counts.sum(axis=0)))
            resampled = meteor_from_statistics(resampled_sums(counts))
            tally.add_corpus(f"meteor{suffix}", value, percentile_interval(resampled))
        for name in ("rouge_l", "cider"):
            if name in self.metrics:
                best = constants.cider if constants and name == "cider" else None
                values = self.segments(name, texts)
                tally.add(name + suffix, values, majority=best, grouped=False)

    def _report_bleu(
        self, tally: Tally, texts: Sequence[str], suffix: str, majority: float | None
    ) -> None:
        counts = self._bleu.statistics(texts)
        values = bleu_from_statistics(counts.sum(axis=0))
        resampled = bleu_from_statistics(resampled_sums(counts))
        for order in range(4):
            name = f"bleu{order + 1}"
            if name in self.metrics:
                interval = percentile_interval(resampled[:, order])
                best = majority if name == "bleu4" else None
                tally.add_corpus(name + suffix, float(values[order]), interval, best)

    def best_constants(
        self,
        answerable: Sequence[bool] | None = None,
        empty: str = "",
    ) -> Constants:
        """The constant answers with the best CIDEr and the best BLEU-4.

        Args:
            answerable: items that may be answered at all; the others get the empty text.
            empty: how the empty text is written here.
        """
        items = len(self._references)
        allowed = [True] * items if answerable is None else list(answerable)
        frequencies = Counter(text for texts in self._references for text in texts)
        ranked = sorted(frequencies, key=lambda text: (-frequencies[text], text))
        best_cider, best_bleu = np.zeros(items), 0.0
        for text in ranked[:CONSTANTS_TRIED]:
            constant = [text if may else empty for may in allowed]
            cider = self._cider.scores(constant)
            if cider.sum() > best_cider.sum():
                best_cider = cider
            counts = self._bleu.statistics(constant).sum(axis=0)
            best_bleu = max(best_bleu, float(bleu_from_statistics(counts)[3]))
        return Constants(best_cider, best_bleu)
