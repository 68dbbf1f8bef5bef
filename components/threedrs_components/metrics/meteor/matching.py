"""All ways in which a word or phrase of a hypothesis can stand for one of the reference."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from threedrs_components.metrics.meteor.data import MeteorData
from threedrs_components.metrics.meteor.paraphrases import LONGEST_PHRASE

Phrase = tuple[str, ...]
EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

_SUFFIXES = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y"), ("s", ""), ("ies", "y"), ("es", "e"), ("es", "")),
    *(("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""), ("er", ""), ("est", "")),
    *(("er", "e"), ("est", "e")),
)
"""WordNet's rules from an inflected form to its base, in the order they are tried."""


class Match(NamedTuple):
    """A phrase of the reference matched with a phrase of the hypothesis."""

    start: int
    """First word in the reference."""
    length: int
    other_start: int
    """First word in the hypothesis."""
    other_length: int
    stage: int


class Lexicon(Protocol):
    """What the matchers know about English."""

    def stages(self, word: str, other: str) -> tuple[int, ...]:
        """In which ways two words match: exactly, or by stem, by meaning, or both."""
        ...

    @property
    def paraphrases(self) -> Mapping[Phrase, Sequence[Phrase]]:
        """What each phrase may be said as."""
        ...


class EnglishLexicon:
    """Snowball stems, WordNet meanings and the part of the paraphrase table some texts need."""

    def __init__(self, data: MeteorData, paraphrases: Mapping[Phrase, Sequence[Phrase]]) -> None:
        import snowballstemmer

        self.paraphrases = paraphrases
        self._data = data
        self._stem = cache(snowballstemmer.stemmer("english").stemWord)
        self._meanings = cache(self._synsets)
        self.stages = cache(self._stages)

    def _stages(self, word: str, other: str) -> tuple[int, ...]:
        if word == other:
            return (EXACT,)
        by_stem = (STEM,) if self._stem(word) == self._stem(other) else ()
        share = not self._meanings(word).isdisjoint(self._meanings(other))
        return (*by_stem, SYNONYM) if share else by_stem

    def _synsets(self, word: str) -> frozenset[str]:
        """Meanings of the word itself and of its base forms: irregular ones, else by rule."""
        synsets = self._data.synsets
        found = set(synsets.get(word, "").split())
        for base in self._data.irregular_forms.get(word) or (regular_base(word, synsets),):
            found.update(synsets.get(base, "").split())
        return frozenset(found)


def regular_base(word: str, known: Container[str]) -> str:
    """The first form a suffix rule makes of the word that is known; '' if there is none."""
    tail = "ful" if word.endswith("ful") else ""
    stem = word[: word.rindex("f")] if tail else word
    if stem.endswith("ss") or len(stem) <= 2:
        return ""
    for suffix, ending in _SUFFIXES:
        if stem.endswith(suffix):
            base = stem[: len(stem) - len(suffix)] + ending
            if base in known:
                return base + tail
    return ""


def all_matches(
    hypothesis: Sequence[str], reference: Sequence[str], lexicon: Lexicon
) -> list[list[Match]]:
    """Matches by their first word in the reference; in the order of stages, then of hypothesis.

    Identical texts are matched exactly and in no other way.
    """
    identical = list(hypothesis) == list(reference)
    found: list[list[Match]] = []
    for start, word in enumerate(reference):
        matches = [
            Match(start, 1, place, 1, stage)
            for place, other in enumerate(hypothesis)
            for stage in lexicon.stages(other, word)
            if stage == EXACT or not identical
        ]
        found.append(matches if len(matches) < 2 else sorted(matches, key=_by_stage))
    if not identical:
        for match in _paraphrase_matches(hypothesis, reference, lexicon.paraphrases):
            found[match.start].append(match)
    return found


def _by_stage(match: Match) -> int:
    return match.stage


def _paraphrase_matches(
    hypothesis: Sequence[str], reference: Sequence[str], table: Mapping[Phrase, Sequence[Phrase]]
) -> list[Match]:
    """Entries from the reference to the hypothesis, then from the hypothesis to the reference.

    The table has a direction, and an entry that is there both ways gives two matches.
    """
    if not table:
        return []
    forward = [
        Match(start, length, place, width, PARAPHRASE)
        for start, length, place, width in _occurrences(reference, hypothesis, table)
    ]
    backward = [
        Match(place, width, start, length, PARAPHRASE)
        for start, length, place, width in _occurrences(hypothesis, reference, table)
    ]
    return forward + backward


def _occurrences(
    sources: Sequence[str], targets: Sequence[str], table: Mapping[Phrase, Sequence[Phrase]]
) -> list[tuple[int, int, int, int]]:
    """Start and length in `sources`, start and length in `targets`, of every table entry."""
    words, others = tuple(sources), tuple(targets)
    found = []
    for start in range(len(words)):
        for length in range(1, min(LONGEST_PHRASE, len(words) - start) + 1):
            for phrase in table.get(words[start : start + length], ()):
                width = len(phrase)
                found += [
                    (start, length, place, width)
                    for place in range(len(others) - width + 1)
                    if others[place : place + width] == phrase
                ]
    return found
