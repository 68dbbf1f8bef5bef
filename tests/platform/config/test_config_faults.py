from __future__ import annotations

import math
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from threedrs_platform.config import Config
from threedrs_platform.config.faults import validate
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError


class Cat(Config):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, gt=0)


class Dog(Config):
    kind: Literal["dog"] = "dog"
    tricks: tuple[str, ...] = ()


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]


class House(Config):
    rooms: int
    animal: Animal = Cat()
    others: dict[str, Animal] = Field(default_factory=dict)
    garden: bool = False
    colour: Literal["red", "blue"] = "red"
    width: float | None = None

    @model_validator(mode="after")
    def _room_for_all(self) -> House:
        if len(self.others) > self.rooms:
            raise ValueError(f"{len(self.others)} animals need more than {self.rooms} rooms")
        return self


def faults(text: str) -> list[str]:
    document = load_document(text, "h.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(House, document.data, document)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_has_not_is_refused(number: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        House(rooms=1, width=number)


def test_a_sound_file_becomes_a_frozen_tree() -> None:
    house = validate(House, load_document("rooms: 2\nanimal: {kind: dog, tricks: [sit]}").data)
    assert house.animal == Dog(tricks=("sit",))
    with pytest.raises(ValidationError):
        house.rooms = 3


def test_all_faults_are_listed_with_line_and_column() -> None:
    assert faults("rooms: two\nanimal:\n  kind: cat\n  lifes: 3\n  lives: 0\ncolour: bleu\n") == [
        'h.yaml:1:8: rooms: expected a whole number, got "two"',
        "h.yaml:5:10: animal.lives: expected a number above 0, got 0",
        "h.yaml:4:3: animal.lifes: unknown key 'lifes'; did you mean 'lives'?",
        "h.yaml:6:9: colour: expected 'red' or 'blue', got \"bleu\"; did you mean 'blue'?",
    ]


def test_unknown_kind_lists_the_kinds() -> None:
    (fault,) = faults("rooms: 1\nothers:\n  rex: {kind: dgo}\n")
    place, message = fault.split(": unknown ")
    assert place == "h.yaml:3:15: others.rex.kind"
    assert message == "kind 'dgo'; did you mean 'dog'? known kinds: cat, dog"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("animal: {kind: cat, tricks: [sit]}\n", "h.yaml:2:21: animal.tricks"),
        ("others:\n  cat: {kind: cat, tricks: [sit]}\n", "h.yaml:3:20: others.cat.tricks"),
    ],
)
def test_a_key_of_another_kind_is_told_to_be_one(text: str, place: str) -> None:
    assert faults(f"rooms: 1\n{text}") == [
        f"{place}: unknown key 'tricks': kind cat has no tricks; kind dog has it"
    ]


def test_missing_kind_lists_the_kinds() -> None:
    assert faults("rooms: 1\nanimal: {lives: 3}\n") == [
        "h.yaml:2:9: animal: missing `kind`; known kinds: cat, dog"
    ]


def test_missing_key_points_at_what_should_hold_it() -> None:
    assert faults("garden: true\n") == ["h.yaml:1:1: rooms: missing, and it has no default"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("garden: 7", "expected true or false, got 7"),
        ("animal: 3", "expected a mapping (`key: value`), got 3"),
        ("others: [1]", "expected a mapping (`key: value`), got [1]"),
        ("animal: {kind: dog, tricks: sit}", 'expected a list, got "sit"'),
        ("animal: {kind: cat, lives: 1.5}", "expected a whole number, got 1.5"),
        ("animal: {kind: cat, lives: true}", "expected a number, got true or false"),
        ("others: {a: {kind: cat, lives: true}}", "expected a number, got true or false"),
        ("width: false", "expected a number, got true or false"),
        ("width: wide", 'expected a number, got "wide"'),
        ("width: [1]", "expected a number, got [1]"),
    ],
)
def test_messages_are_plain_words(line: str, message: str) -> None:
    (fault,) = faults(f"rooms: 1\n{line}\n")
    assert fault.endswith(message)
    for jargon in ("pydantic", "http", "Input", "valid "):
        assert jargon not in fault


def test_own_checks_speak_for_themselves() -> None:
    text = "rooms: 1\nothers: {a: {kind: cat}, b: {kind: dog}}\n"
    assert faults(text) == ["h.yaml:1:1: 2 animals need more than 1 rooms"]


def test_prefix_places_a_part_of_a_document() -> None:
    document = load_document("before: 1\nhouse:\n  rooms: none\n", "h.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(House, document.data["house"], document, ("house",))
    assert str(caught.value) == 'h.yaml:3:10: house.rooms: expected a whole number, got "none"'


def test_fingerprint_ignores_order_and_spelled_out_defaults() -> None:
    assert Cat().fingerprint() == Cat(lives=9).fingerprint() != Cat(lives=8).fingerprint()


class Shelf(Config):
    places: Annotated[tuple[int | Literal["top"], ...], Field(min_length=1)] = (1,)


def test_a_faulty_item_of_a_list_is_one_fault() -> None:
    """Neither one for each thing that it may be, nor a list that is said to be too short."""
    with pytest.raises(ConfigError) as caught:
        validate(Shelf, {"places": ["two"]})
    (fault,) = caught.value.faults
    assert fault.path == "places[0]"
    assert fault.message.startswith("expected a whole number, or 'top', got \"two\"")
    with pytest.raises(ConfigError, match="at least 1 item"):
        validate(Shelf, {"places": []})
