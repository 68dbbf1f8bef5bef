"""METEOR 1.5 of a corpus without Java: `-l en -norm`, task "rank"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threedrs_components.metrics.meteor.alignment import align, count_chunks
from threedrs_components.metrics.meteor.beam import (
    MOST_PAIRS,
    MOST_WORDS,
    Ints,
    MatchTable,
    choose_matches,
)
from threedrs_components.metrics.meteor.data import MeteorData, installed_data
from threedrs_components.metrics.meteor.matching import (
    Lexicon,
    Text,
    all_matches,
    matches_of,
    related_words,
)
from threedrs_components.metrics.meteor.normalise import normalise
from threedrs_components.metrics.meteor.paraphrases import cache_folder, open_index

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Exact, stem, synonym, paraphrase."""
COLUMNS = 23
"""Lengths and function words of hypothesis and reference (4); content and function words matched
per stage in the hypothesis (8) and in the reference (8); words matched on both sides; chunks."""

Float64 = NDArray[np.float64]
Tokens = tuple[str, ...]


def segment_statistics(hypothesis: Text, reference: Text, lexicon: Lexicon) -> list[int]:
    """The counts of one pair of texts, COLUMNS long; they add up over a corpus.

    A perfect match in one chunk counts no chunk, so that it has no fragmentation penalty.
    """
    length, reference_length = len(hypothesis.words), len(reference.words)
    chosen = align(all_matches(hypothesis, reference, lexicon), length)
    stages = [0] * 16
    matched = matched_reference = 0
    for match in chosen:
        for word in range(match.other_start, match.other_start + match.other_length):
            stages[match.stage + 4 * hypothesis.functional[word]] += 1
        for word in range(match.start, match.start + match.length):
            stages[8 + match.stage + 4 * reference.functional[word]] += 1
        matched += match.other_length
        matched_reference += match.length
    chunks = count_chunks(chosen)
    if chunks == 1 and matched == length and matched_reference == reference_length:
        chunks = 0
    return [
        *(length, reference_length, sum(hypothesis.functional), sum(reference.functional)),
        *stages,
        *(matched, matched_reference, chunks),
    ]


def pair_statistics(pairs: Sequence[tuple[Text, Text]], lexicon: Lexicon) -> Ints:
    """The counts [P, COLUMNS] of pairs of hypothesis and reference, as `segment_statistics`."""
    counts = np.zeros((len(pairs), COLUMNS), dtype=np.int64)
    short = [max(len(one.words), len(other.words)) <= MOST_WORDS for one, other in pairs]
    for row, (hypothesis, reference) in enumerate(pairs):
        if not short[row]:
            counts[row] = segment_statistics(hypothesis, reference, lexicon)
    rows = np.flatnonzero(short)
    for start in range(0, len(rows), MOST_PAIRS):
        chunk = rows[start : start + MOST_PAIRS]
        counts[chunk] = _statistics_at_once([pairs[row] for row in chunk], lexicon)
    return counts


def _statistics_at_once(pairs: Sequence[tuple[Text, Text]], lexicon: Lexicon) -> Ints:
    """The same of at most MOST_PAIRS pairs of texts of at most MOST_WORDS words."""
    found = [
        (pair, *match) for pair, texts in enumerate(pairs) for match in matches_of(*texts, lexicon)
    ]
    table = MatchTable.of(np.array(found, dtype=np.int64).reshape(-1, 6))
    counts = np.zeros((len(pairs), COLUMNS), dtype=np.int64)
    sides = list(zip(*pairs, strict=True))
    before = [_function_words_before(texts) for texts in sides]
    for side, texts in enumerate(sides):
        counts[:, side] = [len(text.words) for text in texts]
        counts[:, 2 + side] = before[side][:, -1]
    chosen = table[choose_matches(table, counts[:, 1])]
    places = ((chosen.other_start, chosen.other_length), (chosen.start, chosen.length))
    for side, (starts, lengths) in enumerate(places):
        functional = before[side][chosen.pair, starts + lengths] - before[side][chosen.pair, starts]
        first = 4 + 8 * side
        np.add.at(counts, (chosen.pair, first + chosen.stage), lengths - functional)
        np.add.at(counts, (chosen.pair, first + 4 + chosen.stage), functional)
        np.add.at(counts[:, 20 + side], chosen.pair, lengths)
    np.add.at(counts[:, 22], chosen.pair, chosen.begins_chunk)
    whole = (counts[:, 20:22] == counts[:, :2]).all(1) & (counts[:, 22] == 1)
    counts[whole, 22] = 0
    return counts


def _function_words_before(texts: Sequence[Text]) -> Ints:
    """[T, MOST_WORDS + 1] how many of a text's words before each place are function words."""
    width = MOST_WORDS + 1
    padded = [(False, *text.functional, *[False] * (width - 1 - len(text.words))) for text in texts]
    return np.cumsum(np.array(padded, dtype=np.int64), axis=1)


def meteor_from_statistics(statistics: ArrayLike) -> Float64:
    """METEOR in [0, 1] of (summed) counts [..., COLUMNS]; 0 where nothing matches."""
    sums = np.asarray(statistics, dtype=np.float64)
    precision = _weighted_share(sums[..., 4:12], sums[..., 0], sums[..., 2])
    recall = _weighted_share(sums[..., 12:20], sums[..., 1], sums[..., 3])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall)
        fragments = sums[..., 22] / ((sums[..., 20] + sums[..., 21]) / 2)
        score = mean * (1.0 - GAMMA * fragments**BETA)
    result: Float64 = np.nan_to_num(score, nan=0.0)
    return result


def _weighted_share(stages: Float64, length: Float64, function_words: Float64) -> Float64:
    weighted = DELTA * stages[..., :4] + (1.0 - DELTA) * stages[..., 4:]
    total = DELTA * (length - function_words) + (1.0 - DELTA) * function_words
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Float64 = (weighted @ STAGE_WEIGHTS) / total
    return share


class MeteorReferences:
    """References of a corpus, normalised once.

    Args:
        references: texts per item.
        data: METEOR's files; the installed wheel's by default.
        cache: folder for the paraphrase index; the user's by default.

    Raises:
        DataError: the `eval` extra is not installed.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        data: MeteorData | None = None,
        cache: Path | None = None,
    ) -> None:
        self._data = data or installed_data()
        self._index = open_index(self._data, cache or cache_folder())
        self._tokens: dict[str, Tokens] = {}
        self._references = [[self._normalise(text) for text in texts] for texts in references]
        self._rows: dict[tuple[Tokens, Tokens], list[int]] = {}
        """Counts of pairs of hypothesis and reference; the same captions are scored more than once,
        as those of two IoU thresholds are."""

    def _normalise(self, text: str) -> Tokens:
        if text not in self._tokens:
            self._tokens[text] = tuple(normalise(text, self._data.dot_rules))
        return self._tokens[text]

    def statistics(self, hypotheses: Sequence[str]) -> Float64:
        """Counts per item [N, COLUMNS], of the reference each hypothesis scores best with."""
        assert len(hypotheses) == len(self._references)
        # As the usual wrapper: the separator is removed, double spaces are narrowed in one pass.
        cleaned = [text.replace("|||", "").replace("  ", " ") for text in hypotheses]
        tokens = [self._normalise(text) for text in cleaned]
        pairs = {
            (words, reference): None
            for words, references in zip(tokens, self._references, strict=True)
            for reference in references
        }
        self._count([pair for pair in pairs if pair not in self._rows])
        rows = np.array([self._rows[pair] for pair in pairs], dtype=np.float64).reshape(-1, COLUMNS)
        scores = meteor_from_statistics(rows)
        place = {pair: row for row, pair in enumerate(pairs)}
        best = [
            max((place[words, reference] for reference in references), key=lambda row: scores[row])
            for words, references in zip(tokens, self._references, strict=True)
        ]
        return rows[best]

    def _count(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> None:
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        lexicon = Lexicon(
            related_words({word for text in texts for word in text}, self._data),
            self._index,
            self._data.function_words,
        )
        read = dict(zip(texts, lexicon.read(texts), strict=True))
        rows = pair_statistics([(read[words], read[other]) for words, other in pairs], lexicon)
        self._rows.update(zip(pairs, rows.tolist(), strict=True))


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus METEOR in [0, 1]."""
    statistics = MeteorReferences(references).statistics(hypotheses)
    return float(meteor_from_statistics(statistics.sum(axis=0)))
