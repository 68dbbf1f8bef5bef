from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.where import Where, parse_where, same

VALUES: dict[str, Any] = {
    "teacher": "vggt",
    "alignment.layers": [2],
    "alignment.weight": 1.5,
    "steps": 350,
    "blind": False,
    "checkpoint": None,
}


def holds(text: str) -> bool:
    return parse_where(text, VALUES).holds(VALUES.get)


def fault(text: str) -> tuple[int | None, str]:
    with pytest.raises(ConfigError) as caught:
        holds(text)
    (only,) = caught.value.faults
    return only.column, only.message


@pytest.mark.parametrize(
    "text",
    [
        "teacher == 'vggt'",
        'teacher != "mae"',
        "teacher in ['mae', 'vggt']",
        "teacher not in ('mae', 'none')",
        "steps < 400",
        "steps <= 350 and steps >= 350",
        "300 < steps < 400",
        "not steps > 350",
        "alignment.layers == [2]",
        "2 in alignment.layers",
        "alignment.weight > -1.0",
        "blind == false",
        "not blind",
        "blind or teacher == 'vggt'",
        "checkpoint == null",
        "checkpoint == None",
        "(blind or steps == 350) and teacher != 'none'",
        "  teacher == 'vggt'  ",
        "teacher == 'vggt'\nand steps > 1\n",
        "steps == 350.0",
        "true",
        "'a' < 'b'",
    ],
)
def test_true_conditions(text: str) -> None:
    assert holds(text)
    assert not holds(f"not ({text.strip()})")


@pytest.mark.parametrize(
    "text", ["teacher == 'none'", "steps > 350", "1 in alignment.layers", "blind == 0", "false"]
)
def test_false_conditions(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("teachr == 'vggt'", 1, "unknown name 'teachr'; did you mean 'teacher'?"),
        ("steps > 3 and layers == [2]", 15, "did you mean 'alignment.layers'?"),
        ("teacher == none", 12, "write 'none' in quotes"),
        ("teacher = 'vggt'", 9, "write == to compare"),
        ("teacher == 'a' && blind", 17, "write `and` for `&&`"),
        ("steps + 1 == 351", 1, "arithmetic is no part of the where language"),
        ("open('x')", 1, "a call is no part"),
        ("teacher is None", 1, "`is` is no part"),
        ("alignment.layers[0] == 2", 1, "an index is no part"),
        ("[x for x in teacher]", 1, "listcomp is no part"),
        ("teacher == f'{steps}'", 12, "joinedstr is no part"),
        ("steps == 3j", 10, "is no part"),
        ("steps == b'x'", 10, "is no part"),
        ("lambda: 1", 1, "is no part"),
        ("steps := 3", 7, "cannot be read"),
        ("", 1, "cannot be read"),
        ("(steps", 1, "cannot be read"),
        ("teacher", 1, 'gives "vggt", not true or false'),
        ("teacher and blind", 1, 'is "vggt" here'),
        ("teacher < 3", 1, '"vggt" and 3 have no order'),
        ("checkpoint < 3", 1, "null and 3 have no order"),
        ("blind < 3", 1, "false and 3 have no order"),
        ("'v' in teacher", 1, "`in` needs a list on its right"),
        ("x" * 3000, 1, "longer than"),
        ("steps == \x001", 1, "cannot be printed"),
    ],
)
def test_mistakes_are_placed_and_explained(text: str, column: int, part: str) -> None:
    found, message = fault(text)
    assert part in message
    assert found == column


def test_and_looks_no_further_once_the_answer_is_clear() -> None:
    assert not holds("blind and teacher")


def test_every_unknown_name_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where("teachr == 'a' or stps > 1", VALUES)
    assert [f.column for f in caught.value.faults] == [1, 18]


def test_columns_count_characters_not_bytes() -> None:
    assert fault("'é' == teachr")[0] == 8


def test_names_are_listed_in_order() -> None:
    assert parse_where("a.b == 1 and not c in [d, true]").names() == ("a.b", "c", "d")


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        ([True], [1], False),
        ((1, 2), [1, 2], True),
        (None, 0, False),
    ],
)
def test_equality_is_by_value_but_true_is_not_one(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is equal
    assert same(right, left) is equal


words = [
    "teacher",
    "steps",
    "blind",
    "==",
    "<",
    "in",
    "not",
    "and",
    "or",
    "(",
    ")",
    "[",
    "]",
    ",",
    "1",
]
words += [
    "'vggt'",
    "None",
    "is",
    "lambda",
    ":",
    ".",
    "+",
    "-",
    "*",
    "if",
    "else",
    "for",
    "é",
    "0x",
    "\\",
]


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(words), max_size=12).map(" ".join)))
def test_random_text_is_a_condition_or_a_config_error(text: str) -> None:
    try:
        condition = parse_where(text, VALUES)
        assert isinstance(condition, Where)
        assert isinstance(condition.holds(VALUES.get), bool)
    except ConfigError as error:
        assert all(f.column is not None for f in error.faults)


def test_deep_nesting_is_refused_without_exhausting_the_stack() -> None:
    with pytest.raises(ConfigError):
        parse_where("(" * 900 + "blind" + ")" * 900, VALUES)
