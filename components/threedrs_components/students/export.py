"""A trained language model for other programs: as `from_pretrained` of transformers reads it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from threedrs_components.students.folder import CONFIG_FILE, WEIGHTS_FILE, read_student_config
from threedrs_components.students.registry import stored_config
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_platform.errors import CheckpointError

MODEL_PREFIX = "model."
"""Of the language model's tensors among the student's."""


def write_pretrained(folder: Path, out: Path) -> None:
    """Write a stored student's language model in the layout of its transformers class.

    Grounding head and alignment stay behind: they are no part of that class.

    Args:
        folder: written by `save_student`.
        out: gets config.json, model.safetensors under the class's own names, tokenizer.

    Raises:
        CheckpointError: the student reads a teacher's features, which that class cannot.
    """
    if "fusion" in read_student_config(folder):
        raise CheckpointError(
            f"{folder}: the student was trained with a teacher's features beside its frames "
            "(fusion), which no class of transformers reads; export one trained without"
        )
    model_class = stored_config(folder).architecture().model_class
    config = {**read_student_config(folder)["model"], "architectures": [model_class.__name__]}
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=1, sort_keys=True))
    tensors = {
        name.removeprefix(MODEL_PREFIX): value
        for name, value in load_file(folder / WEIGHTS_FILE).items()
        if name.startswith(MODEL_PREFIX)
    }
    save_file(tensors, out / WEIGHTS_FILE, metadata={"format": "pt"})
    StudentTokenizer.load(folder).save(out)
