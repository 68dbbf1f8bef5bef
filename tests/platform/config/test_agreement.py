"""Validators of a configuration are called once for every combination of what they look at."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationInfo, field_validator, model_validator

from threedrs_platform.config import Config
from threedrs_platform.config.agreement import Agreement

CALLS: list[str] = []


class Section(Config):
    size: int = 1


class Whole(Config):
    first: Section = Section()
    second: Section = Section()
    third: Section = Section()
    switch: bool = False

    @field_validator("second")
    @classmethod
    def _not_smaller(cls, second: Section, info: ValidationInfo) -> Section:
        CALLS.append("second")
        if second.size < info.data["first"].size:
            raise ValueError("smaller than first")
        return second

    @field_validator("third")
    @classmethod
    def _sum_is_even(cls, third: Section, info: ValidationInfo) -> Section:
        CALLS.append("third")
        if third.size > 5 and (third.size + info.data["second"].size) % 2:
            raise ValueError("odd")
        return third


BASE = Whole.model_validate({name: {"size": 1} for name in ("first", "second", "third")})


@pytest.fixture
def agreement() -> Agreement[Whole]:
    CALLS.clear()
    made = Agreement(BASE)
    CALLS.clear()
    return made


def test_a_variant_is_what_pydantic_builds_of_the_same_sections(
    agreement: Agreement[Whole],
) -> None:
    for first in range(1, 4):
        for second in range(1, 4):
            for third in (1, 6, 7):
                sections = {"first": first, "second": second, "third": third}
                changed = {name: Section(size=size) for name, size in sections.items()}
                made = agreement.variant(changed)
                if second < first or (third > 5 and (third + second) % 2):
                    assert made is None
                else:
                    assert made == Whole.model_validate(changed)
                    assert made.model_fields_set == {"first", "second", "third"}


def test_only_what_depends_on_a_change_is_asked_and_only_once(agreement: Agreement[Whole]) -> None:
    sections = [Section(size=size) for size in range(2, 5)]
    for _ in range(3):
        for section in sections:
            assert agreement.variant({"second": section}) is not None
    # `third` is small in all of them, so it never looks at `second`.
    assert CALLS == ["second"] * 3


def test_a_look_that_comes_later_counts_from_then_on(agreement: Agreement[Whole]) -> None:
    even, odd, big = Section(size=2), Section(size=3), Section(size=6)
    assert agreement.variant({"third": big, "second": even}) is not None
    assert agreement.variant({"third": big, "second": odd}) is None
    assert agreement.variant({"third": big, "second": even}) is not None


def test_checks_that_cannot_be_watched_are_left_to_pydantic() -> None:
    class Checked(Whole):
        @model_validator(mode="after")
        def _whole(self) -> Any:
            return self

    assert Agreement(Checked.model_validate({})).variant({"second": Section(size=2)}) is None
