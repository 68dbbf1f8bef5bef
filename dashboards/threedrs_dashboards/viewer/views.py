"""One token seen from another view: what each model takes for the same place, and what is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from threedrs_dashboards.tables import Table
from threedrs_dashboards.viewer.maps import Features, Float32, Int64, cosines, heat
from threedrs_dashboards.viewer.places import Places, Token

RAMP = np.array([[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]])
"""Dark to light, told apart in grey and by colour-blind eyes, too."""


@dataclass(frozen=True)
class Source:
    """Features of one model, or why there are none."""

    name: str
    """Short: a word of a URL."""
    title: str
    features: Features | None
    """[F, rows, columns, channels]"""
    why_none: str = ""


@dataclass(frozen=True)
class SeenToken:
    """One token of the second view, as one model compares it with the chosen one."""

    row: int
    column: int
    cosine: float
    colour: str
    shared: int
    """Point pairs in one voxel with the chosen token; 0 where it is another place."""
    is_best: bool


@dataclass(frozen=True)
class SimilarityMap:
    """The second view under one model."""

    source: Source
    tokens: tuple[SeenToken, ...] = ()

    @property
    def low(self) -> float:
        """Smallest cosine of the view."""
        return min(token.cosine for token in self.tokens)

    @property
    def high(self) -> float:
        """Largest cosine of the view."""
        return max(token.cosine for token in self.tokens)

    @property
    def words(self) -> str:
        """What the map shows, without the map."""
        if not self.tokens:
            return self.source.why_none
        best = next(token for token in self.tokens if token.is_best)
        true = [token for token in self.tokens if token.shared]
        found = f"Most alike: row {best.row}, column {best.column} (cosine {best.cosine:.2f})"
        if not true:
            return f"{found}. This view does not see the chosen place."
        if best.shared:
            return f"{found}: the same place."
        top = max(true, key=lambda token: token.shared)
        ahead = sum(token.cosine > top.cosine for token in self.tokens)
        return (
            f"{found}: another place. The same place is row {top.row}, column {top.column} "
            f"(cosine {top.cosine:.2f}, rank {ahead + 1} of {len(self.tokens)})."
        )


def similarity_maps(
    sources: Sequence[Source], places: Places, token: Token, other: int
) -> list[SimilarityMap]:
    """The second view under every model."""
    shared = places.matches(token.number(places.grid))[other]
    maps = []
    for source in sources:
        if source.features is None:
            maps.append(SimilarityMap(source))
            continue
        values = cosines(source.features, token.number(places.grid))[other]
        maps.append(SimilarityMap(source, _tokens(values, shared)))
    return maps


def _tokens(values: Float32, shared: Int64) -> tuple[SeenToken, ...]:
    stretched, best = heat(values), int(values.argmax())
    rows, columns = values.shape
    return tuple(
        SeenToken(
            row,
            column,
            float(values[row, column]),
            heat_colour(float(stretched[row, column])),
            int(shared[row, column]),
            row * columns + column == best,
        )
        for row in range(rows)
        for column in range(columns)
    )


def heat_colour(share: float) -> str:
    """A colour for a value in [0, 1]."""
    at = share * (len(RAMP) - 1)
    below = min(int(at), len(RAMP) - 2)
    mixed = RAMP[below] + (RAMP[below + 1] - RAMP[below]) * (at - below)
    red, green, blue = np.rint(mixed).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def token_table(
    sources: Sequence[Source], places: Places, token: Token, frame_names: Sequence[str]
) -> Table:
    """All tokens of all frames against the chosen one, one column of cosines per model."""
    number = token.number(places.grid)
    shared = places.matches(number).reshape(-1)
    shown = [source for source in sources if source.features is not None]
    found = [
        cosines(source.features, number).reshape(-1)
        for source in shown
        if source.features is not None
    ]
    rows = []
    for index in range(len(shared)):
        each = Token.numbered(index, places.grid)
        values = (float(column[index]) for column in found)
        rows.append((frame_names[each.frame], each.row, each.column, int(shared[index]), *values))
    header = ("frame", "row", "column", "shared_point_pairs", *(f"cosine_{s.name}" for s in shown))
    return Table(header, rows)
