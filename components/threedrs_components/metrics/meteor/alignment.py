"""Which matches to use: METEOR 1.5's beam search for a one-to-one alignment in few chunks.

Two quirks of the original change scores and are kept. Stage weights below 1 are added to integer
counters, so a single word matched by stem, meaning or paraphrase adds nothing to the order of
paths. And the distance of a match is added to the path that is extended, not to its extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from threedrs_components.metrics.meteor.matching import Match

BEAM = 40
_SEARCH_WEIGHTS = (1.0, 0.5, 0.5, 0.5)
"""Of the stages, during the search only."""

_OPEN = -1
"""In place of the end of the last match: no chunk is open."""
Path = tuple[int, int, int, int, int, int, int, Any]
"""Minus covered words, closed chunks, distance; words used in hypothesis and reference (bits);
next reference word to decide; end of the last match in the hypothesis; chosen matches (linked)."""
_rank = itemgetter(0, 1, 2)


def _bits(start: int, length: int) -> int:
    return ((1 << length) - 1) << start


def definite_matches(found: Sequence[Sequence[Match]], hypothesis_length: int) -> dict[int, Match]:
    """Matches whose words no other match touches, by their first word in the reference."""
    covered_reference = [0] * len(found)
    covered_hypothesis = [0] * hypothesis_length
    for matches in found:
        for match in matches:
            for word in range(match.start, match.start + match.length):
                covered_reference[word] += 1
            for word in range(match.other_start, match.other_start + match.other_length):
                covered_hypothesis[word] += 1
    return {
        start: matches[0]
        for start, matches in enumerate(found)
        if len(matches) == 1 and _is_alone(matches[0], covered_reference, covered_hypothesis)
    }


def _is_alone(match: Match, reference: Sequence[int], hypothesis: Sequence[int]) -> bool:
    here = reference[match.start : match.start + match.length]
    there = hypothesis[match.other_start : match.other_start + match.other_length]
    return all(count == 1 for count in (*here, *there))


def align(found: Sequence[Sequence[Match]], hypothesis_length: int) -> list[Match]:
    """The chosen matches, in the order of the reference."""
    fixed = definite_matches(found, hypothesis_length)
    if sum(map(len, found)) == len(fixed):
        return list(fixed.values())
    steps = {start: _option(match) for start, match in fixed.items()}
    used = sum(option[3] for option in steps.values())
    other_used = sum(option[2] for option in steps.values())
    paths: list[Path] = [(0, 0, 0, other_used, used, 0, _OPEN, None)]
    for current, matches in enumerate(found):
        options = [] if current in fixed else [_option(match) for match in matches]
        paths = _advance(paths, current, options, steps)
        paths.sort(key=_rank)
    closed = [(path[0], path[1] + (path[6] != _OPEN), *path[2:]) for path in paths[:BEAM]]
    chosen = list(fixed.values())
    link = min(closed, key=_rank)[7]
    while link is not None:
        match, link = link
        chosen.append(match)
    return sorted(chosen)


Option = tuple[Match, int, int, int, int]
"""A match with its gain, the words it uses in hypothesis and reference (bits), its distance."""


def _option(match: Match) -> Option:
    weight = _SEARCH_WEIGHTS[match.stage]
    gain = int(match.other_length * weight) + int(match.length * weight)
    return (
        match,
        gain,
        _bits(match.other_start, match.other_length),
        _bits(match.start, match.length),
        abs(match.start - match.other_start),
    )


def _advance(
    paths: Sequence[Path],
    current: int,
    options: Sequence[Option],
    fixed: dict[int, Option],
) -> list[Path]:
    """Decide one word of the reference on every path of the beam."""
    after: list[Path] = []
    for path in paths[:BEAM]:
        covered, chunks, distance, other_used, used, position, end, chosen = path
        if used >> current & 1:
            if current < position:
                after.append(path)
            elif position in fixed:
                after.append(_follow(path, fixed[position]))
            continue
        for match, gain, other_bits, bits, steps in options:
            if used & bits or other_used & other_bits:
                continue
            after.append(
                (
                    covered - gain,
                    chunks + (end != _OPEN and match.other_start != end),
                    distance,
                    other_used | other_bits,
                    used | bits,
                    current + match.length,
                    match.other_start + match.other_length,
                    (match, chosen),
                )
            )
            distance += steps
        closed = chunks + (end != _OPEN)
        after.append((covered, closed, distance, other_used, used, position + 1, _OPEN, chosen))
    return after or list(paths[:1])


def _follow(path: Path, option: Option) -> Path:
    """Go through a definite match, whose words are marked as used from the start."""
    covered, chunks, distance, other_used, used, _, end, chosen = path
    match, gain, _, _, steps = option
    return (
        covered - gain,
        chunks + (end != _OPEN and match.other_start != end),
        distance + steps,
        other_used,
        used,
        match.start + match.length,
        match.other_start + match.other_length,
        chosen,
    )


def count_chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that are adjacent and in the same order on both sides."""
    chunks, end, other_end = 0, _OPEN, _OPEN
    for match in matches:
        if match.start != end or match.other_start != other_end:
            chunks += 1
        end, other_end = match.start + match.length, match.other_start + match.other_length
    return chunks
