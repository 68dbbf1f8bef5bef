"""What the model is asked: wording per benchmark, for training and for evaluation."""

from __future__ import annotations

from string import Formatter
from typing import Literal, Self

from pydantic import model_validator

from threedrs_platform.config import Config

SPATIAL_SENTENCE = (
    "The video captures 3D spatial information of a scene. Please focus on the spatial "
    "relationships in the video and answer the following questions.\n"
)
"""The released code puts this before training prompts and, unlike the paper says, nowhere else."""

_POINTER = "<coord>"
"""What the students' tokenizers call the place of a box."""
_FIELDS = {
    "scanrefer": {"description"},
    "multi3drefer": {"description"},
    "scan2cap": set[str](),
    "scanqa": {"question"},
    "sqa3d": {"situation", "question"},
    "vsibench_choice": {"question", "options"},
    "vsibench_number": {"question"},
}


class PromptConfig(Config):
    """Templates of the text that follows the visual prefix; defaults are the released wording."""

    train_preamble: str = SPATIAL_SENTENCE
    evaluation_preamble: str = ""
    description_case: Literal["sentence", "lower", "as_written"] = "sentence"
    """Of grounding descriptions and training captions; "sentence" lowers all but the first one."""
    scanrefer: str = "Identify the object according to the following description.\n{description}"
    multi3drefer: str = (
        "Identify the object according to the following description.\n{description}\n"
        "There may be no corresponding object, or there may be one or more objects."
    )
    scan2cap: str = "Given an object located at <coord> , describe the object in detail."
    scanqa: str = "{question} Answer the question simply."
    sqa3d: str = "{situation} {question} Answer the question using a single word or phrase."
    vsibench_choice: str = (
        "These are frames of a video.\n{question}\nOptions:\n{options}\n"
        "Answer with the option's letter from the given choices directly."
    )
    vsibench_number: str = (
        "These are frames of a video.\n{question}\n"
        "Please answer the question using a single word or phrase."
    )

    @model_validator(mode="after")
    def _templates_use_known_fields(self) -> Self:
        for name, known in _FIELDS.items():
            used = {field for _, field, _, _ in Formatter().parse(getattr(self, name)) if field}
            if used != known:
                wanted = ", ".join(f"{{{field}}}" for field in sorted(known)) or "no field"
                raise ValueError(f"{name}: the template must use {wanted}, it uses {sorted(used)}")
            pointers, wanted_pointers = getattr(self, name).count(_POINTER), int(name == "scan2cap")
            if pointers != wanted_pointers:
                raise ValueError(
                    f"{name}: {_POINTER} points at the box of an object to describe; the template "
                    f"must have {wanted_pointers} of it, it has {pointers}"
                )
        return self

    @classmethod
    def short(cls) -> PromptConfig:
        """Bare wording for students whose tokenizer is a small word vocabulary."""
        return cls(
            train_preamble="",
            description_case="lower",
            scanrefer="{description}",
            multi3drefer="{description}",
            scan2cap="describe <coord>",
            scanqa="{question}",
            sqa3d="{situation} {question}",
        )

    def render(self, template: str, split: str, **fields: str) -> str:
        """The prompt of one sample: preamble of the split, then the named template filled in."""
        return self.preamble(split) + str(getattr(self, template)).format(**fields)

    def preamble(self, split: str) -> str:
        """What goes before every prompt of a split."""
        return self.train_preamble if split == "train" else self.evaluation_preamble

    def describe(self, text: str) -> str:
        """A description in the configured letter case."""
        if self.description_case == "as_written":
            return text
        return text.capitalize() if self.description_case == "sentence" else text.lower()
