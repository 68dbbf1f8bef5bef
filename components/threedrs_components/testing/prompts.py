"""Prompts of nothing but fields, for students whose tokenizer knows few words."""

from __future__ import annotations

import re

from threedrs_components.benchmarks.config import PromptConfig
from threedrs_components.benchmarks.wording import Wording


def bare_prompts() -> PromptConfig:
    """All templates without words of their own."""
    templates = {
        name: " ".join(re.findall(r"{\w+}|<\w+>", field.default))
        for name, field in PromptConfig.model_fields.items()
        if name not in Wording.model_fields
    }
    return PromptConfig.model_validate(
        {"train_preamble": "", "description_case": "lower", **templates}
    )
