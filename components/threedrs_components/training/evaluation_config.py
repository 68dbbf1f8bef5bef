"""How a trained student is asked. Imports no torch."""

from __future__ import annotations

from typing import Literal

from threedrs_platform.config import Config


class EvaluationConfig(Config):
    """How predictions and the student's probe are computed."""

    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Number format of the weights and of what is computed with them; "stored" is that of the
    student's file, which after training is `training.dtype`. Cosines, sine
    encodings, rotary frequencies and scores of words stay float32. The release evaluates in
    float16."""
