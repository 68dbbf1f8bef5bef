from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from threedrs_components.scenes.micro.furniture import CATEGORIES, COLOR_NAMES
from threedrs_components.scenes.micro.language import (
    DISTANCE_MARGIN_M,
    QUADRANT_MARGIN_M,
    QUADRANTS,
    Description,
    Question,
    Thing,
    captions,
    depth_in_quadrant,
    distance_to,
    groundings,
    multiple,
    questions,
    things,
    vocabulary,
)
from threedrs_components.scenes.micro.rooms import Layout, random_layout, scene_generator

LAYOUTS = [random_layout(scene_generator(7, "train", index), 5, 7) for index in range(80)]


def _grounded(task: str) -> list[tuple[Layout, Description]]:
    found = [
        (layout, item)
        for index, layout in enumerate(LAYOUTS)
        for item in groundings(layout, scene_generator(7, "train", index, 1))
    ]
    return [(layout, item) for layout, item in found if item.task == task]


def _asked(task: str) -> list[tuple[Layout, Question]]:
    found = [
        (layout, item)
        for index, layout in enumerate(LAYOUTS)
        for item in questions(layout, scene_generator(7, "train", index, 1))
    ]
    return [(layout, item) for layout, item in found if item.task == task]


def _candidates(layout: Layout, noun: str) -> list[Thing]:
    return [thing for thing in things(layout) if noun in ("object", thing.category)]


@pytest.mark.parametrize("task", ["g_lm", "g_clm"])
def test_closest_and_farthest_hold_with_a_margin(task: str) -> None:
    items = _grounded(task)
    assert len(items) > 80
    for layout, item in items:
        match = re.fullmatch(r"the (\w+) (closest to|farthest from) the (\w+)", item.text)
        assert match is not None
        noun, relation, landmark = match.groups()
        assert (noun == "object") == (task == "g_lm")
        sign = 1 if relation == "closest to" else -1
        distances = {
            thing.object_id: sign * distance_to(thing, landmark, layout.room)
            for thing in _candidates(layout, noun)
        }
        (target,) = item.object_ids
        own = distances.pop(target)
        assert distances and all(other - own >= DISTANCE_MARGIN_M for other in distances.values())


@pytest.mark.parametrize("task", ["g_dir", "g_cdir"])
def test_quadrants_hold_with_a_margin(task: str) -> None:
    items = _grounded(task)
    assert len(items) > 30
    for layout, item in items:
        match = re.fullmatch(r"the (\w+) in the (\w+ \w+)", item.text)
        assert match is not None
        noun, quadrant = match.groups()
        among = _candidates(layout, noun)
        assert len(among) >= 2
        for thing in among:
            depth = depth_in_quadrant(thing, quadrant)
            is_target = (thing.object_id,) == item.object_ids
            assert depth >= QUADRANT_MARGIN_M if is_target else depth <= -QUADRANT_MARGIN_M


def test_attributes_name_one_object() -> None:
    for layout, item in _grounded("g_attr"):
        named = [t.object_id for t in things(layout) if item.text == f"the {t.color} {t.category}"]
        assert tuple(named) == item.object_ids


def test_captions_tell_color_category_and_quadrant() -> None:
    for layout in LAYOUTS:
        for item in captions(layout):
            thing = things(layout)[item.object_ids[0]]
            match = re.fullmatch(r"a (\w+) (\w+) in the (\w+ \w+)", item.text)
            assert match is not None and match.groups()[:2] == (thing.color, thing.category)
            assert depth_in_quadrant(thing, match[3]) >= QUADRANT_MARGIN_M


def test_north_is_positive_y_and_east_positive_x() -> None:
    thing = Thing(0, "lamp", "red", x=1.0, y=2.0)
    assert depth_in_quadrant(thing, "north east") == 1.0
    assert depth_in_quadrant(replace(thing, x=-1.0), "north west") == 1.0
    assert depth_in_quadrant(replace(thing, y=-2.0), "north east") == -2.0
    layout = LAYOUTS[0]
    assert layout.room.landmark("door")[1] < 0 < layout.room.landmark("window")[1]


def test_evaluation_types_of_multiple_descriptions_hold() -> None:
    seen: Counter[str] = Counter()
    for index, layout in enumerate(LAYOUTS):
        everything = things(layout)
        per_category = Counter(thing.category for thing in everything)
        for item in multiple(layout, scene_generator(7, "train", index, 1)):
            seen[item.task] += 1
            words = item.text.split()
            category = next((c for c in CATEGORIES if words[-1] in (c, f"{c}s")), None)
            color = next((c for c in COLOR_NAMES if c in words), None)
            meant = {
                thing.object_id
                for thing in everything
                if category in (None, thing.category) and color in (None, thing.color)
            }
            assert meant == set(item.object_ids), item
            number = per_category[category] if category is not None else 0
            expected = {
                "zt_wo_d": not meant and number == 0,
                "zt_w_d": not meant and number > 0,
                "st_wo_d": len(meant) == 1 and number == 1,
                "st_w_d": len(meant) == 1 and number > 1,
                "mt": len(meant) > 1,
            }
            assert expected[item.task], item
    assert min(seen[task] for task in ("zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt")) > 25


def test_where_questions_have_one_true_answer() -> None:
    for layout, item in _asked("qa_where"):
        thing = things(layout)[item.object_ids[0]]
        assert item.text == f"where is the {thing.name}?"
        assert depth_in_quadrant(thing, item.answers[0]) >= QUADRANT_MARGIN_M


def test_color_questions_are_about_the_only_one_of_its_kind() -> None:
    for layout, item in _asked("qa_color"):
        category = item.text.removeprefix("what color is the ").removesuffix("?")
        (color,) = [thing.color for thing in things(layout) if thing.category == category]
        assert item.answers == (color,)


def test_counts_are_right() -> None:
    for layout, item in _asked("qa_count"):
        match = re.fullmatch(r"how many (\w+)s are there\?", item.text)
        assert match is not None
        number = sum(thing.category == match[1] for thing in things(layout))
        assert item.answers[1] == str(number) and len(item.object_ids) == number


def test_existence_is_right_and_balanced() -> None:
    answers = []
    for layout, item in _asked("qa_exist"):
        name = item.text.removeprefix("is there a ").removesuffix("?")
        there = any(thing.name == name for thing in things(layout))
        assert item.answers == (("yes",) if there else ("no",))
        answers.append(there)
    assert 0.3 < np.mean(answers) < 0.7


def test_the_vocabulary_covers_every_word() -> None:
    known = set(vocabulary())
    texts: list[str] = []
    for index, layout in enumerate(LAYOUTS):
        rng = scene_generator(7, "train", index, 1)
        texts += [item.text for item in [*groundings(layout, rng), *captions(layout)]]
        texts += [item.text for item in multiple(layout, rng)]
        for question in questions(layout, rng):
            texts += [question.text, *question.answers]
    assert {word for text in texts for word in re.findall(r"\w+", text)} <= known
    assert set(QUADRANTS) == {"north east", "north west", "south east", "south west"}
