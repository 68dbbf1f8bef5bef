"""Cleaning and matching of answers, and numbers in them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.metrics.answer_cleaning import clean_answer
from threedrs_components.metrics.exact_match import (
    chat_scene_answer,
    chat_scene_match,
    exact_match,
    leo_match,
)
from threedrs_components.metrics.relative_accuracy import (
    as_number,
    first_word,
    mean_relative_accuracy,
    number_in_text,
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  The Chair. ", "chair"),
        ("two  chairs", "two chairs"),
        ("tehre is an apple on the letf", "there is apple on left"),
        ("rigth, rght", "right, right"),
        ("TV", "TV"),
        ("0", "zero"),
        ("none", "zero"),
        ("23", "twenty-three"),
        ("21", "21"),
        ("2 o' clock", "two o'clock"),
        ("10 oclock", "ten o'clock"),
        ("chair2", "chair"),
        ("chair22", "chair22"),
        ("backwards", "backward"),
        ("50%", "50"),
        ("left (behind) me!", "left behind me"),
        ("3:00", "three:00"),
        ("caf\u00e9", "caf"),
        ("a a chair", "a chair"),
        ("a", "a"),
        ("table\n", "table\n"),
        ("  table  \n", "table\n"),
        ("table \n ", "table \n"),
        ("", ""),
        ("\U0001f600", ""),
    ],
)
def test_answers_are_cleaned(text: str, cleaned: str) -> None:
    assert clean_answer(text) == cleaned


@settings(deadline=None)
@given(st.lists(st.sampled_from(["chair", "left", "TV", "7", "o'clock", "on"]), max_size=6))
def test_cleaning_twice_is_cleaning_once_without_articles(words: list[str]) -> None:
    once = clean_answer(" ".join(words))
    assert clean_answer(once) == once


def test_exact_match_is_raw() -> None:
    assert exact_match("Chair", ["chair"]) == 0.0
    assert exact_match("chair", ["table", "chair"]) == 1.0
    assert exact_match(None, [""]) == 0.0


@pytest.mark.parametrize(
    ("answer", "references", "leo", "chat_scene"),
    [
        ("chair", ["chair"], (1, 1), (1, 1)),
        ("brown chair", ["chair"], (0, 1), (0, 1)),
        ("chair", ["brown chair"], (0, 1), (0, 1)),
        ("table", ["chair"], (0, 0), (0, 0)),
        # LEO stops at the first reference that decides; Chat-Scene looks for equality first.
        ("chair", ["brown chair", "chair"], (0, 1), (1, 1)),
        # The empty answer is inside everything for LEO and matches nothing for Chat-Scene.
        ("", ["chair"], (0, 1), (0, 0)),
        ("arm chair", ["armchair"], (0, 1), (0, 1)),
        ("arm\tchair\n", ["armchair"], (0, 1), (0, 1)),
    ],
)
def test_refined_matches(
    answer: str,
    references: list[str],
    leo: tuple[float, float],
    chat_scene: tuple[float, float],
) -> None:
    assert leo_match(answer, references) == leo
    assert chat_scene_match(answer, references) == chat_scene


@pytest.mark.parametrize(
    ("text", "read"), [("Yes.", "yes"), ("A", "A"), ("No..", "no."), ("", ""), (".", "")]
)
def test_chat_scene_drops_one_dot_and_lowers_the_first_letter(text: str, read: str) -> None:
    assert chat_scene_answer(text) == read


@pytest.mark.parametrize(
    ("answer", "truth", "accuracy"),
    [
        (4.0, 4.0, 1.0),
        # Error 0.25: right at levels .5 .55 .6 .65 .7 .75, i.e. 1 - level >= 0.25.
        (3.0, 4.0, 0.6),
        (5.0, 4.0, 0.6),
        # Error 0.5 is right at the lowest level only, the bound included.
        (2.0, 4.0, 0.1),
        (1.9, 4.0, 0.0),
        (math.nan, 4.0, 0.0),
        (math.inf, 4.0, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_mean_relative_accuracy(answer: float, truth: float, accuracy: float) -> None:
    assert mean_relative_accuracy(answer, truth) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("text", "word"), [("B. left", "B"), ("4.5.", "4.5"), (" A", ""), ("A\n", "A"), ("", "")]
)
def test_the_answer_proper_ends_at_the_first_space(text: str, word: str) -> None:
    assert first_word(text) == word


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("about 3.5 metres", 3.5),
        ("-2", -2.0),
        ("two", 2.0),
        ("there are twenty-one chairs", 21.0),
        ("one hundred and five", 105.0),
        ("two thousand three hundred", 2300.0),
        ("a hundred", 100.0),
        ("three, 4", 3.0),
        ("4, three", 4.0),
        ("one apple, room 2", 1.0),
        ("room2 has one", 2.0),
        ("someone saw 2", 2.0),
        ("twenty 5", 20.0),
        ("\u0130\u0130\u0130 two 3", 2.0),
    ],
)
def test_numbers_are_found_in_text(text: str, number: float) -> None:
    assert number_in_text(text) == number


@pytest.mark.parametrize("text", ["", "none", "and"])
def test_no_number_is_not_a_number(text: str) -> None:
    assert math.isnan(number_in_text(text)) and math.isnan(as_number(text))
