"""What can truthfully be said and asked about a room: descriptions, captions, questions.

Everything is in the room frame (compass words, door, window), and a sentence is only made when
it holds with a margin, so that nobody has to guess. Objects are visited in order of id.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Generator

from threedrs_components.scenes.micro.furniture import CATEGORIES, COLOR_NAMES
from threedrs_components.scenes.micro.rooms import Layout, Room

Item = TypeVar("Item")

DISTANCE_MARGIN_M = 0.3
"""By how much the closest must be closer, and the farthest farther, than the next."""
QUADRANT_MARGIN_M = 0.25
"""How far inside its quadrant the one must be, and how far outside all others."""
QUADRANTS = {
    "north east": (1, 1),
    "north west": (-1, 1),
    "south east": (1, -1),
    "south west": (-1, -1),
}
LANDMARKS = ("door", "window")
COUNT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
WHERE_QUESTIONS, COLOR_QUESTIONS, COUNTING_QUESTIONS = 2, 2, 1
ANY_NUMBER_OF_TARGETS, ATTRIBUTES, CATEGORY_LANDMARKS = 3, 4, 4
"""At most so many per scene, so that what needs no position does not crowd out what does."""


@dataclass(frozen=True)
class Thing:
    """An object as language sees it."""

    object_id: int
    category: str
    color: str
    x: float
    y: float

    @property
    def name(self) -> str:
        """Colour and category: unique in a scene."""
        return f"{self.color} {self.category}"


@dataclass(frozen=True)
class Description:
    """A phrase and the objects it denotes. `task` says which kind of phrase it is."""

    task: str
    text: str
    object_ids: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers (the first is taught) and the objects it is about."""

    task: str
    text: str
    answers: tuple[str, ...]
    object_ids: tuple[int, ...]


def things(layout: Layout) -> list[Thing]:
    """The pieces of a room at the centres of their boxes."""
    boxes = layout.objects().boxes
    return [
        Thing(index, piece.category, piece.color, float(box[0]), float(box[1]))
        for index, (piece, box) in enumerate(zip(layout.pieces, boxes, strict=True))
    ]


def groundings(layout: Layout, rng: Generator) -> list[Description]:
    """Single-object descriptions: g_lm, g_dir, g_clm, g_cdir, g_attr."""
    everything = things(layout)
    same_category = [
        same
        for category in CATEGORIES
        if len(same := [thing for thing in everything if thing.category == category]) >= 2
    ]
    by_landmark = [
        item
        for same in same_category
        for item in _by_landmark("g_clm", same[0].category, same, layout.room)
    ]
    by_category_quadrant = [
        item for same in same_category for item in _by_quadrant("g_cdir", same[0].category, same)
    ]
    by_attribute = [
        Description("g_attr", f"the {thing.name}", (thing.object_id,)) for thing in everything
    ]
    return [
        *_by_landmark("g_lm", "object", everything, layout.room),
        *_by_quadrant("g_dir", "object", everything),
        *_some(rng, by_landmark, CATEGORY_LANDMARKS),
        *by_category_quadrant,
        *_some(rng, by_attribute, ATTRIBUTES),
    ]


def captions(layout: Layout) -> list[Description]:
    """One caption with a direction for each object that clearly is in one quadrant."""
    placed = [(thing, quadrant_of(thing)) for thing in things(layout)]
    return [
        Description("caption", f"a {thing.name} in the {quadrant}", (thing.object_id,))
        for thing, quadrant in placed
        if quadrant is not None
    ]


def multiple(layout: Layout, rng: Generator) -> list[Description]:
    """Descriptions of none, one or several objects; task = Multi3DRefer's eval_type.

    A distractor is another object of the described category.
    """
    everything = things(layout)
    per_category = Counter(thing.category for thing in everything)
    names = {thing.name for thing in everything}
    absent = [(c, k) for k in CATEGORIES for c in COLOR_NAMES if f"{c} {k}" not in names]
    without = [f"the {c} {k}" for c, k in absent if not per_category[k]]
    beside = [f"the {c} {k}" for c, k in absent if per_category[k]]
    alone = [thing for thing in everything if per_category[thing.category] == 1]
    among = [thing for thing in everything if per_category[thing.category] > 1]
    one_of_each = [
        *(Description("zt_wo_d", text, ()) for text in _some(rng, without, 1)),
        *(Description("zt_w_d", text, ()) for text in _some(rng, beside, 1)),
        *(
            Description("st_wo_d", f"the {thing.category}", (thing.object_id,))
            for thing in _some(rng, alone, 1)
        ),
        *(
            Description("st_w_d", f"the {thing.name}", (thing.object_id,))
            for thing in _some(rng, among, 1)
        ),
        *_some(rng, list(_groups(everything)), 1),
    ]
    return _some(rng, one_of_each, ANY_NUMBER_OF_TARGETS)


def questions(layout: Layout, rng: Generator) -> list[Question]:
    """Questions of where, which colour, how many and whether."""
    everything = things(layout)
    how_many_or_whether = [*_some(rng, list(_how_many(everything)), 1), _whether(everything, rng)]
    return [
        *_some(rng, list(_where(everything)), WHERE_QUESTIONS),
        *_some(rng, list(_which_color(everything)), COLOR_QUESTIONS),
        *_some(rng, how_many_or_whether, COUNTING_QUESTIONS),
    ]


def quadrant_of(thing: Thing, margin: float = QUADRANT_MARGIN_M) -> str | None:
    """The quadrant an object clearly is in, or None."""
    inside = [name for name in QUADRANTS if depth_in_quadrant(thing, name) >= margin]
    return inside[0] if inside else None


def depth_in_quadrant(thing: Thing, quadrant: str) -> float:
    """How far inside a quadrant an object is, metres; negative outside."""
    east, north = QUADRANTS[quadrant]
    return min(thing.x * east, thing.y * north)


def distance_to(thing: Thing, landmark: str, room: Room) -> float:
    """Distance on the floor from an object's centre to the door or window, metres."""
    x, y = room.landmark(landmark)
    return math.hypot(thing.x - x, thing.y - y)


def vocabulary() -> tuple[str, ...]:
    """Every word that can occur in a description, caption, question or answer, sorted."""
    phrases = [
        "the object closest to farthest from door window in a",
        "where is what color how many are there yes no objects",
        *QUADRANTS,
        *CATEGORIES,
        *(f"{category}s" for category in CATEGORIES),
        *COLOR_NAMES,
        *COUNT_WORDS,
        *(str(number) for number in range(len(COUNT_WORDS))),
    ]
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def _by_landmark(task: str, noun: str, among: list[Thing], room: Room) -> Iterator[Description]:
    for landmark in LANDMARKS:
        ordered = sorted(among, key=lambda thing: distance_to(thing, landmark, room))
        distances = [distance_to(thing, landmark, room) for thing in ordered]
        if len(ordered) < 2:
            continue
        if distances[1] - distances[0] >= DISTANCE_MARGIN_M:
            text = f"the {noun} closest to the {landmark}"
            yield Description(task, text, (ordered[0].object_id,))
        if distances[-1] - distances[-2] >= DISTANCE_MARGIN_M:
            text = f"the {noun} farthest from the {landmark}"
            yield Description(task, text, (ordered[-1].object_id,))


def _by_quadrant(task: str, noun: str, among: list[Thing]) -> Iterator[Description]:
    for quadrant in QUADRANTS:
        depths = sorted((depth_in_quadrant(thing, quadrant), thing.object_id) for thing in among)
        deepest, object_id = depths[-1]
        others_out = all(depth <= -QUADRANT_MARGIN_M for depth, _ in depths[:-1])
        if deepest >= QUADRANT_MARGIN_M and others_out:
            yield Description(task, f"the {noun} in the {quadrant}", (object_id,))


def _groups(everything: list[Thing]) -> Iterator[Description]:
    for category in CATEGORIES:
        ids = tuple(thing.object_id for thing in everything if thing.category == category)
        if len(ids) >= 2:
            yield Description("mt", f"the {category}s", ids)
    for color in COLOR_NAMES:
        ids = tuple(thing.object_id for thing in everything if thing.color == color)
        if len(ids) >= 2:
            yield Description("mt", f"the {color} objects", ids)


def _where(everything: list[Thing]) -> Iterator[Question]:
    for thing in everything:
        quadrant = quadrant_of(thing)
        if quadrant is not None:
            answers = (quadrant, f"in the {quadrant}")
            yield Question("qa_where", f"where is the {thing.name}?", answers, (thing.object_id,))


def _which_color(everything: list[Thing]) -> Iterator[Question]:
    per_category = Counter(thing.category for thing in everything)
    for thing in everything:
        if per_category[thing.category] == 1:
            text = f"what color is the {thing.category}?"
            yield Question("qa_color", text, (thing.color,), (thing.object_id,))


def _how_many(everything: list[Thing]) -> Iterator[Question]:
    for category in CATEGORIES:
        ids = tuple(thing.object_id for thing in everything if thing.category == category)
        if ids:
            answers = (COUNT_WORDS[len(ids)], str(len(ids)))
            yield Question("qa_count", f"how many {category}s are there?", answers, ids)


def _whether(everything: list[Thing], rng: Generator) -> Question:
    """An object that is there, or (as often) the same category in a colour that is not."""
    thing = everything[int(rng.integers(len(everything)))]
    if rng.random() < 0.5:
        text = f"is there a {thing.name}?"
        return Question("qa_exist", text, ("yes",), (thing.object_id,))
    taken = {other.color for other in everything if other.category == thing.category}
    free = [color for color in COLOR_NAMES if color not in taken]
    if not free:
        return Question("qa_exist", f"is there a {thing.name}?", ("yes",), (thing.object_id,))
    color = free[int(rng.integers(len(free)))]
    return Question("qa_exist", f"is there a {color} {thing.category}?", ("no",), ())


def _some(rng: Generator, items: list[Item], most: int) -> list[Item]:
    """At most so many items, chosen at random, in their own order."""
    chosen = rng.permutation(len(items))[:most]
    return [items[index] for index in sorted(chosen.tolist())]
