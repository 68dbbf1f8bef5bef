"""All ways in which a word or phrase of a hypothesis can stand for one of the reference."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.meteor.data import MeteorData
from threedrs_components.metrics.meteor.paraphrases import (
    LONGEST_PHRASE,
    NEWLINE,
    SPACE,
    Hashes,
    ParaphraseIndex,
    part_hashes,
)

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


Source = tuple[int, int, int]
"""A phrase of a text that may be said as others: its first word, its words, its number."""
Paraphrases = Mapping[int, tuple[int, ...]]
"""A phrase's number -> those of what it may be said as, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Text:
    """A tokenised text with what every comparison needs of it."""

    words: Phrase
    functional: tuple[bool, ...]
    """Which words are function words."""
    at: Mapping[str, Sequence[int]]
    """Where each word stands."""
    sources: tuple[Source, ...]
    """The phrases that have paraphrases."""
    places: Mapping[int, tuple[int, ...]]
    """Length and places of the phrases that are paraphrases of something."""
    paraphrases: Paraphrases
    """Of all phrases of the texts that were read together."""


class Lexicon:
    """What the matchers know about the words and phrases of some texts."""

    def __init__(
        self,
        related: Mapping[str, Mapping[str, tuple[int, ...]]],
        paraphrases: ParaphraseIndex,
        function_words: Container[str],
    ) -> None:
        self.related = related
        """For each word the words it matches, and in which stages."""
        self._paraphrases = paraphrases
        self._function_words = function_words

    def read(self, texts: Sequence[Phrase]) -> list[Text]:
        """Prepare texts for comparison with each other."""
        phrases = all_phrases(texts)
        hashes, number = np.unique(phrases.hashes, return_inverse=True)
        paraphrases = self._paraphrases.among(hashes)
        is_target = np.zeros(len(hashes), dtype=bool)
        is_target[list(set().union(*paraphrases.values()))] = True
        told = is_target.copy()
        told[list(paraphrases)] = True
        rows = np.flatnonzero(told[number])
        rows = rows[np.lexsort((phrases.length[rows], phrases.place[rows], phrases.text[rows]))]
        sources: list[list[Source]] = [[] for _ in texts]
        places: list[dict[int, tuple[int, ...]]] = [{} for _ in texts]
        columns = (phrases.text, phrases.place, phrases.length, number, is_target[number])
        for text, place, length, phrase, stands in zip(
            *(column[rows].tolist() for column in columns), strict=True
        ):
            if phrase in paraphrases:
                sources[text].append((place, length, phrase))
            if stands:
                places[text][phrase] = (*places[text].get(phrase, (length,)), place)
        return [self._text(*each, paraphrases) for each in zip(texts, sources, places, strict=True)]

    def _text(
        self,
        words: Phrase,
        sources: Sequence[Source],
        places: Mapping[int, tuple[int, ...]],
        paraphrases: Paraphrases,
    ) -> Text:
        at: dict[str, tuple[int, ...]] = {}
        for place, word in enumerate(words):
            at[word] = (*at.get(word, ()), place)
        functional = tuple(word in self._function_words for word in words)
        return Text(words, functional, at, tuple(sources), places, paraphrases)


@dataclass(frozen=True)
class Phrases:
    """Every phrase of some texts that could be in the paraphrase table, [N] each."""

    text: NDArray[np.int64]
    place: NDArray[np.int64]
    """First word."""
    length: NDArray[np.int64]
    """Words."""
    hashes: Hashes


def all_phrases(texts: Sequence[Phrase]) -> Phrases:
    """The phrases of all texts at once, whose words hold neither spaces nor ends of lines."""
    written = "".join(" ".join(words) + "\n" for words in texts).encode("utf-8", "replace")
    data = np.frombuffer(written, dtype=np.uint8)
    ends = np.flatnonzero((data == SPACE) | (data == NEWLINE))
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    text = np.cumsum(data[ends] == NEWLINE) - (data[ends] == NEWLINE)
    words = ends > starts  # an empty text has no word
    starts, ends, text = starts[words], ends[words], text[words]
    place = np.arange(len(text)) - np.searchsorted(text, text)
    parts = []
    for length in range(1, LONGEST_PHRASE + 1):
        count = max(0, len(text) - length + 1)
        first = np.flatnonzero(text[length - 1 :] == text[:count])
        hashes = part_hashes(data, starts[first], ends[first + length - 1])
        parts.append((text[first], place[first], np.full(len(first), length), hashes))
    return Phrases(*map(np.concatenate, zip(*parts, strict=True)))


def related_words(words: Iterable[str], data: MeteorData) -> dict[str, dict[str, tuple[int, ...]]]:
    """For each word the words among these that it matches: itself, same stem, common meaning."""
    known = sorted(set(words))
    stems = _snowball_stems(known)
    meanings = {word: _synsets(word, data) for word in known}
    by_stem: dict[str, list[str]] = {}
    by_meaning: dict[str, list[str]] = {}
    for word in known:
        by_stem.setdefault(stems[word], []).append(word)
        for meaning in meanings[word]:
            by_meaning.setdefault(meaning, []).append(word)
    related: dict[str, dict[str, tuple[int, ...]]] = {}
    for word in known:
        row: dict[str, tuple[int, ...]] = dict.fromkeys(by_stem[stems[word]], (STEM,))
        for meaning in meanings[word]:
            for other in by_meaning[meaning]:
                row[other] = (STEM, SYNONYM) if stems[other] == stems[word] else (SYNONYM,)
        related[word] = {**row, word: (EXACT,)}
    return related


def _snowball_stems(words: Iterable[str]) -> dict[str, str]:
    import snowballstemmer

    stemmer = snowballstemmer.stemmer("english")
    return {word: stemmer.stemWord(word) for word in words}


def _synsets(word: str, data: MeteorData) -> set[str]:
    """Meanings of the word itself and of its base forms: irregular ones, else by rule."""
    synsets = data.synsets
    found = set(synsets.get(word, "").split())
    for base in data.irregular_forms.get(word) or (regular_base(word, synsets),):
        found.update(synsets.get(base, "").split())
    return found


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


def all_matches(hypothesis: Text, reference: Text, lexicon: Lexicon) -> list[list[Match]]:
    """Matches by their first word in the reference; in the order of stages, then of hypothesis.

    Identical texts are matched exactly and in no other way.
    """
    found: list[list[Match]] = [[] for _ in reference.words]
    for match in matches_of(hypothesis, reference, lexicon):
        found[match[0]].append(Match(*match))
    return found


FoundMatch = tuple[int, int, int, int, int]
"""The fields of a Match."""


def matches_of(hypothesis: Text, reference: Text, lexicon: Lexicon) -> list[FoundMatch]:
    """The same in one list; those of one word of the reference in their order."""
    if hypothesis.words == reference.words:
        return [
            (start, 1, place, 1, EXACT)
            for start, word in enumerate(reference.words)
            for place in hypothesis.at[word]
        ]
    found: list[FoundMatch] = []
    there = hypothesis.at
    for start, word in enumerate(reference.words):
        row = lexicon.related[word]
        others = row.keys() & there.keys()
        if others:
            ways = [(stage, at) for each in others for stage in row[each] for at in there[each]]
            ways.sort()
            found += [(start, 1, at, 1, stage) for stage, at in ways]
    return found + _paraphrase_matches(hypothesis, reference)


def _paraphrase_matches(hypothesis: Text, reference: Text) -> list[FoundMatch]:
    """Entries from the reference to the hypothesis, then from the hypothesis to the reference.

    The table has a direction, and an entry that is there both ways gives two matches.
    """
    said_as = reference.paraphrases
    forward = [
        (start, length, place, there[phrase][0], PARAPHRASE)
        for there in (hypothesis.places,)
        for start, length, source in reference.sources
        for phrase in said_as[source]
        if phrase in there
        for place in there[phrase][1:]
    ]
    backward = [
        (place, there[phrase][0], start, length, PARAPHRASE)
        for there in (reference.places,)
        for start, length, source in hypothesis.sources
        for phrase in said_as[source]
        if phrase in there
        for place in there[phrase][1:]
    ]
    return forward + backward
