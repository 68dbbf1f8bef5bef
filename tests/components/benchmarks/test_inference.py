"""Model output to predictions."""

import pytest

from threedrs_components.benchmarks import BENCHMARKS
from threedrs_components.benchmarks.inference import (
    answer_text,
    caption_prediction,
    grounding_prediction,
)
from threedrs_platform.records import Sample

UNIT, FAR = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (9.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def sample(benchmark: str, box_input: tuple[float, ...] | None = None) -> Sample:
    return Sample("a", benchmark, "s0", "text", "", box_input=box_input)


@pytest.mark.parametrize(
    ("decoded", "text"),
    [(" a lamp \n", "a lamp"), ("yes<|im_end|>", "yes"), ("yes <|im_end|> ", "yes"), ("", "")],
)
def test_answers_lose_blanks_and_the_end_marker(decoded: str, text: str) -> None:
    assert answer_text(decoded) == text


def test_a_caption_without_prompt_box_is_empty() -> None:
    assert caption_prediction(sample("scan2cap"), "a lamp").text == ""
    found = caption_prediction(sample("scan2cap", UNIT), " a lamp<|im_end|>")
    assert (found.text, found.boxes) == ("a lamp", (UNIT,))


def test_scanrefer_always_answers_and_multi3drefer_may_not() -> None:
    scores = (0.2, 0.1, 0.9)
    assert grounding_prediction(sample("scanrefer"), (UNIT, FAR), scores).boxes == (UNIT,)
    assert grounding_prediction(sample("multi3drefer"), (UNIT, FAR), scores).boxes == ()
    several = grounding_prediction(sample("multi3drefer"), (UNIT, FAR, UNIT), (0.8, 0.8, 0.8, -1))
    assert several.boxes == (UNIT, FAR)
    assert grounding_prediction(sample("scanrefer"), (), (0.3,)).boxes == ()


def test_only_vsi_bench_is_asked_without_coordinates() -> None:
    assert [kind.name for kind in BENCHMARKS.values() if kind.frames_only] == ["vsibench"]
    assert BENCHMARKS["vsibench"].max_new_tokens == 16
