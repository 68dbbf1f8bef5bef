"""METEOR's beam search of many pairs of texts at once: the paths of `alignment.align`, in arrays.

Every array of paths is sorted by pair and, within a pair, as the beam is. All pairs decide the same
word of their reference at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.meteor.alignment import BEAM
from threedrs_components.metrics.meteor.matching import EXACT

Ints = NDArray[np.int64]

MOST_WORDS = 62
"""Of a text whose words fit into the bits of one number."""
PLACES = 64
"""Numbers per pair of a word or a phrase in it."""
GAIN, CHUNK = 40, 24
"""Bits of a rank: covered words above chunks above distance."""
PAIR, WORST_RANK = 48, 1 << 47
"""The pair above the rank, which is above minus twice MOST_WORDS gains."""
MOST_PAIRS = 1 << 10
"""Whose paths fit into the processor's cache; 2^15 would fit into a number above the rank."""
NOTHING = -1
"""In place of the end of a match, of a match, or of a link."""


@dataclass(frozen=True)
class MatchTable:
    """Matches of many pairs, [M] each, by pair and first word of the reference, then as found."""

    pair: Ints
    start: Ints
    length: Ints
    other_start: Ints
    other_length: Ints
    stage: Ints

    @classmethod
    def of(cls, rows: Ints) -> MatchTable:
        """From rows [M, 6] of these columns; those of one pair and word keep their order."""
        order = np.argsort(rows[:, 0] * PLACES + rows[:, 1], kind="stable")
        return cls(*np.ascontiguousarray(rows[order].T))

    def __getitem__(self, rows: Ints) -> MatchTable:
        return MatchTable(*(each[rows] for each in vars(self).values()))

    @property
    def begins_chunk(self) -> NDArray[np.bool_]:
        """Whether each match, in an alignment, is not adjacent on both sides to the one before."""
        same = self.pair[1:] == self.pair[:-1]
        same &= self.start[1:] == (self.start + self.length)[:-1]
        same &= self.other_start[1:] == (self.other_start + self.other_length)[:-1]
        return np.concatenate([[True], ~same])[: len(self.pair)]


def choose_matches(table: MatchTable, lengths: Ints) -> Ints:
    """Which matches make up each pair's alignment.

    Args:
        table: all matches of all pairs; no text is longer than MOST_WORDS.
        lengths: [P] words of each pair's reference.

    Returns:
        Rows of the table, in the order of pairs and, within a pair, of the reference.
    """
    search = _Search(table, lengths)
    chosen = np.flatnonzero(search.definite)
    return np.sort(np.concatenate([chosen, search.run()]))


@dataclass
class _Paths:
    """The beams of all pairs."""

    pair: Ints
    rank: Ints
    other_used: Ints
    used: Ints
    position: Ints
    end: Ints
    link: Ints

    def __getitem__(self, rows: NDArray[np.bool_] | Ints) -> _Paths:
        return _Paths(*(each[rows] for each in vars(self).values()))

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def firsts(self) -> Ints:
        """Where the beam of each pair begins."""
        return np.flatnonzero(np.diff(self.pair, prepend=NOTHING))


class _Search:
    def __init__(self, table: MatchTable, lengths: Ints) -> None:
        self.table = table
        self.lengths = lengths
        self.gain = np.where(
            table.stage == EXACT,
            table.length + table.other_length,
            table.length // 2 + table.other_length // 2,
        )
        self.distance = np.abs(table.start - table.other_start)
        self.bits = ((1 << table.length) - 1) << table.start
        self.other_bits = ((1 << table.other_length) - 1) << table.other_start
        self.other_end = table.other_start + table.other_length
        self.definite = _are_alone(table.pair, table.start, table.length) & _are_alone(
            table.pair, table.other_start, table.other_length
        )
        self._index()
        self._choices: list[Ints] = []
        self._before: list[Ints] = []
        self._links = 0

    def _index(self) -> None:
        """Where the options of each word are, and its definite match."""
        places = len(self.lengths) * PLACES
        keys = self.table.pair * PLACES + self.table.start
        self.options = np.flatnonzero(~self.definite)
        self.count = np.bincount(keys[self.options], minlength=places)
        self.first = np.cumsum(self.count) - self.count
        self.fixed = np.full(places, NOTHING)
        self.fixed[keys[self.definite]] = np.flatnonzero(self.definite)

    def run(self) -> Ints:
        """Matches beside the definite ones that the best path of each pair has chosen."""
        paths = self._begin()
        best: list[Ints] = []
        for current in range(int(self.lengths.max(initial=0))):
            if not len(paths):
                break
            paths = self._advanced(paths, current)
            done = self.lengths[paths.pair] == current + 1
            if done.any():
                best.append(_best_links(paths[done]))
                paths = paths[~done]
        return self._traced(best)

    def _begin(self) -> _Paths:
        table = self.table
        pairs = np.unique(table.pair[self.options])
        used, other_used = (np.zeros(len(self.lengths), dtype=np.int64) for _ in range(2))
        for words, bits in ((used, self.bits), (other_used, self.other_bits)):
            np.bitwise_or.at(words, table.pair[self.definite], bits[self.definite])
        none = np.full(len(pairs), NOTHING)
        zero = np.zeros(len(pairs), dtype=np.int64)
        return _Paths(pairs, zero, other_used[pairs], used[pairs], zero, none, none)

    def _advanced(self, paths: _Paths, current: int) -> _Paths:
        """Decide one word on every path: the best paths that follow."""
        decided = (paths.used >> current & 1).astype(bool)
        inside = decided & (current < paths.position)
        definite = self.fixed[paths.pair * PLACES + paths.position]
        follows = decided & ~inside & (definite != NOTHING)
        # A beam of which nothing is left keeps its first path.
        firsts = paths.firsts
        lost = ~np.logical_or.reduceat(~decided | inside | follows, firsts)
        inside[firsts[lost]] = True
        free, stays = np.flatnonzero(~decided), np.flatnonzero(inside)
        followed = np.flatnonzero(follows)
        parent, option, before, gone = self._possible(paths, free, current)
        definite = definite[followed]
        source = np.concatenate([parent, free, stays, followed])
        change = (
            before + self._change(paths.end[parent], option),
            gone + _closing(paths.end[free]),
            np.zeros(len(stays), dtype=np.int64),
            self.distance[definite] + self._change(paths.end[followed], definite),
        )
        rank = paths.rank[source] + np.concatenate(change)
        kept = _best(paths.pair[source], rank, source)
        after = paths[source[kept]]
        after.rank = rank[kept]
        ends = np.cumsum([len(option), len(free), len(stays)])
        kind = np.searchsorted(ends, kept, side="right")
        self._choose(after, np.flatnonzero(kind == 0), option[kept[kind == 0]])
        after.position[kind == 1] += 1
        after.end[kind == 1] = NOTHING
        self._move(after, np.flatnonzero(kind == 3), definite[kept[kind == 3] - ends[2]])
        return after

    def _possible(self, paths: _Paths, free: Ints, current: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Ways to match the word: the path they go on from, the match, how much the options before
        it move its rank; and how much all of them move that of the path that skips the word."""
        keys = paths.pair[free] * PLACES + current
        counts = self.count[keys]
        begin = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(begin, counts)
        option = self.options[np.repeat(self.first[keys], counts) + within]
        parent = np.repeat(free, counts)
        clash = (paths.used[parent] & self.bits[option]) | (
            paths.other_used[parent] & self.other_bits[option]
        )
        possible = clash == 0
        moved = np.concatenate([[0], np.cumsum(np.where(possible, self.distance[option], 0))])
        before = (moved[:-1] - np.repeat(moved[begin], counts))[possible]
        gone = moved[begin + counts] - moved[begin]
        return parent[possible], option[possible], before, gone

    def _choose(self, paths: _Paths, rows: Ints, match: Ints) -> None:
        """Let some paths use a match, and remember that they chose it."""
        paths.other_used[rows] |= self.other_bits[match]
        paths.used[rows] |= self.bits[match]
        self._move(paths, rows, match)
        self._choices.append(match)
        self._before.append(paths.link[rows])
        paths.link[rows] = self._links + np.arange(len(rows))
        self._links += len(rows)

    def _move(self, paths: _Paths, rows: Ints, match: Ints) -> None:
        """Set some paths behind a match."""
        paths.position[rows] = self.table.start[match] + self.table.length[match]
        paths.end[rows] = self.other_end[match]

    def _change(self, end: Ints, match: Ints) -> Ints:
        """Of the rank by a match: words that it covers, and a chunk that it closes."""
        closes = (end != NOTHING) & (self.table.other_start[match] != end)
        change: Ints = (closes.astype(np.int64) << CHUNK) - (self.gain[match] << GAIN)
        return change

    def _traced(self, best: list[Ints]) -> Ints:
        if not self._links:
            return np.zeros(0, dtype=np.int64)
        choices, before = np.concatenate(self._choices), np.concatenate(self._before)
        links = np.concatenate(best)
        found = []
        while len(links := links[links != NOTHING]):
            found.append(choices[links])
            links = before[links]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _are_alone(pair: Ints, start: Ints, length: Ints) -> NDArray[np.bool_]:
    """Whether no other match touches any word of each match."""
    first = pair * PLACES + start
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    touched = np.bincount(np.repeat(first, length) + within, minlength=1)
    others = np.concatenate([[0], np.cumsum(touched - 1)])
    alone: NDArray[np.bool_] = others[first + length] == others[first]
    return alone


def _best(pair: Ints, rank: Ints, source: Ints) -> Ints:
    """Which paths are the best of each pair, by pair and as the beam is.

    Args:
        pair, rank: [N] in any order but that the paths of one source stand as they are made.
        source: [N] the path that each was made from, which decides between equals.
    """
    made = np.argsort(source, kind="stable")
    order = made[np.argsort(((pair << PAIR) + rank + WORST_RANK)[made], kind="stable")]
    pair = pair[order]
    place = np.arange(len(order))
    first = np.where(np.diff(pair, prepend=NOTHING) != 0, place, 0)
    return order[place - np.maximum.accumulate(first) < BEAM]


def _closing(end: Ints) -> Ints:
    """Of the rank, where the chunk that is open is closed."""
    is_open: Ints = (end != NOTHING).astype(np.int64) << CHUNK
    return is_open


def _best_links(paths: _Paths) -> Ints:
    """The last link of the first best path of each pair, its last chunk closed."""
    rank = paths.rank + _closing(paths.end)
    firsts = paths.firsts
    least = np.minimum.reduceat(rank, firsts)
    counts = np.diff(np.append(firsts, len(paths)))
    best = np.flatnonzero(rank == np.repeat(least, counts))
    links: Ints = paths.link[best[np.unique(paths.pair[best], return_index=True)[1]]]
    return links
