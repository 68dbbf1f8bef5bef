from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_platform.config.strict_yaml import Document, Place, dotted, load_document, parse_value
from threedrs_platform.errors import ConfigError


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_document(text, "f.yaml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("3", 3),
        ("-3", -3),
        ("0", 0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("y", "y"),
        ("2024-01-01", "2024-01-01"),
        ("vggt", "vggt"),
        ("'010'", "010"),
        ("'no'", "no"),
        ('"12:30"', "12:30"),
        ("[1, [2, a]]", [1, [2, "a"]]),
    ],
)
def test_words_mean_what_they_say(word: str, value: Any) -> None:
    read = load_document(f"key: {word}").data["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "word",
    [
        "010",
        "09",
        "0o17",
        "0x1F",
        "1_000",
        "12:30",
        "-1:30",
        "yes",
        "No",
        "ON",
        "off",
        ".inf",
        ".nan",
        "1e999",
    ],
)
def test_ambiguous_words_are_refused_with_their_place(word: str) -> None:
    (fault,) = faults(f"fine: 1\nkey: {word}\n")
    assert fault.startswith("f.yaml:2:6: key: ")


def test_refusal_says_what_to_write_instead() -> None:
    assert faults("a: no") == [
        "f.yaml:1:4: a: unquoted no is ambiguous; write false, or 'no' for the word"
    ]


def test_all_faults_of_a_file_are_listed_at_once() -> None:
    found = faults("a: 010\non: 1\nb: 1\nb: 2\n7: x\n")
    assert [fault.split(": ")[0] for fault in found] == [
        "f.yaml:1:4",
        "f.yaml:2:1",
        "f.yaml:4:1",
        "f.yaml:5:1",
    ]


def test_duplicate_key_names_the_first_line() -> None:
    assert faults("a:\n  b: 1\n  c: 2\n  b: 3\n") == [
        "f.yaml:4:3: a.b: key 'b' is written twice (first in line 2)"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/name:os.system x",
        "a: !!str 3",
        "a: [1,",
        "a: 1\n---\nb: 2",
        "a: \x00",
        "[" * 3000,
        'a: "\\U99999999"',
        "{[1]: 2}",
        "",
        "- 1",
        "word",
    ],
)
def test_what_is_no_plain_mapping_is_refused(text: str) -> None:
    assert all(fault.startswith("f.yaml") for fault in faults(text))


def test_aliases_cannot_blow_up_a_file() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (fault,) = faults(bomb)
    assert "alias *a" in fault


def test_every_key_and_value_has_its_place() -> None:
    document = load_document("a:\n  b: [10, 20]\n  c: x\n", "f.yaml")
    assert document.place(("a", "b", 1)) == Place("f.yaml", 2, 11)
    assert document.place(("a", "c")) == Place("f.yaml", 3, 6)
    assert document.place(("a", "c"), of_key=True) == Place("f.yaml", 3, 3)


def test_place_of_something_absent_is_that_of_what_surrounds_it() -> None:
    document = load_document("a:\n  b: 1\n", "f.yaml")
    assert document.place(("a", "missing", "deeper")) == document.place(("a",))


def test_unreadable_files_are_faults(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    for path, part in [
        (tmp_path / "no.yaml", "no such file"),
        (latin, "2: not UTF-8"),
        (tmp_path, "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=part):
            load_document(path)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_document(path).data == {"a": 1}


def test_single_values_follow_the_same_rules() -> None:
    assert parse_value("[1e-3, vggt, [2]]", "--set") == [1e-3, "vggt", [2]]
    with pytest.raises(ConfigError, match="no plain decimal"):
        parse_value("[010]", "--set")


def test_paths_read_like_code() -> None:
    assert dotted(("exclude", 0, "where")) == "exclude[0].where"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="a:- []{},\n'\"&*!|>#%@0e.?<")))
def test_random_text_is_read_or_refused_but_never_crashes(text: str) -> None:
    try:
        assert isinstance(load_document(text), Document)
    except ConfigError as error:
        assert error.faults


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc é:'#", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab c", max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), plain))
def test_json_is_read_as_json(data: dict[str, Any]) -> None:
    import json

    assert load_document(json.dumps(data, ensure_ascii=False)).data == data
