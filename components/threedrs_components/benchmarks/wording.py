"""What the model is asked, apart from a benchmark's own template: preambles and letter case."""

from __future__ import annotations

from string import Formatter
from typing import Literal

from pydantic import AfterValidator

from threedrs_platform.config import Config

SPATIAL_SENTENCE = (
    "The video captures 3D spatial information of a scene. Please focus on the spatial "
    "relationships in the video and answer the following questions.\n"
)
"""The released code puts this before training prompts and, unlike the paper says, nowhere else."""

POINTER = "<coord>"
"""What the students' tokenizers call the place of a box."""


class Wording(Config):
    """What the prompts of all benchmarks share; defaults are the released wording."""

    train_preamble: str = SPATIAL_SENTENCE
    """Before every prompt of training; by default the sentence of the released code."""
    evaluation_preamble: str = ""
    """Before every prompt of evaluation; empty as released, which is disagreement D5."""
    description_case: Literal["sentence", "lower", "as_written"] = "sentence"
    """Of grounding descriptions and training captions; "sentence" lowers all but the first one."""

    def render(self, template: str, split: str, **fields: str) -> str:
        """The prompt of one sample: preamble of the split, then the template filled in."""
        return self.preamble(split) + template.format(**fields)

    def preamble(self, split: str) -> str:
        """What goes before every prompt of a split."""
        return self.train_preamble if split == "train" else self.evaluation_preamble

    def describe(self, text: str) -> str:
        """A description in the configured letter case."""
        if self.description_case == "as_written":
            return text
        return text.capitalize() if self.description_case == "sentence" else text.lower()


def template(*fields: str, pointers: int = 0) -> AfterValidator:
    """A mark on a field that holds a template: what must stand in it.

    Args:
        fields: names in braces, each at least once and no other.
        pointers: how often the template points at the box of the object to describe.
    """

    def check(text: str) -> str:
        used = {field for _, field, _, _ in Formatter().parse(text) if field}
        if used != set(fields):
            wanted = ", ".join(f"{{{field}}}" for field in sorted(fields)) or "no field"
            raise ValueError(f"the template must use {wanted}, it uses {sorted(used)}")
        if text.count(POINTER) != pointers:
            raise ValueError(
                f"{POINTER} points at the box of an object to describe; the template must have "
                f"{pointers} of it, it has {text.count(POINTER)}"
            )
        return text

    return AfterValidator(check)
