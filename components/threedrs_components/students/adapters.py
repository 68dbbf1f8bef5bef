"""LoRA in a student's language model: put in before training, merged away before saving."""

from __future__ import annotations

from typing import Any

import torch

from threedrs_components.students.settings import LoraSettings
from threedrs_components.students.student import Student
from threedrs_platform.errors import StepFailed

LANGUAGE_MODEL = r"(.*\.)?language_model\."


def add_adapters(student: Student, settings: LoraSettings) -> None:
    """Freeze the language model, and let small matrices beside its layers learn in its place.

    The first ones are drawn from torch's generator, the second start at zero: the student computes
    what it computed before. The other parts stay trainable or frozen as they were.

    Raises:
        StepFailed: peft is not installed.
    """
    peft = _peft()
    learns = {name: value.requires_grad for name, value in student.named_parameters()}
    targets = "|".join(settings.targets)
    new = [student.tokenizer.ground_id, student.tokenizer.coord_id]
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=rf"{LANGUAGE_MODEL}.*\.({targets})",
        trainable_token_indices={"embed_tokens": new},
    )
    peft.inject_adapter_in_model(config, student.model)
    for name, parameter in student.named_parameters():
        # peft freezes whatever is no adapter, the vision tower and the projector included.
        if name in learns and student.part_of(name) != "language":
            parameter.requires_grad_(learns[name])


@torch.no_grad()
def merge_adapters(student: Student) -> None:
    """Add what was learned to the weights, and leave the model as if there had been no adapters."""
    peft = _peft()
    wrappers = (peft.tuners.tuners_utils.BaseTunerLayer, peft.utils.other.TrainableTokensWrapper)
    wrapped = [
        (name, module) for name, module in student.named_modules() if isinstance(module, wrappers)
    ]
    for name, module in wrapped:
        parent, _, own = name.rpartition(".")
        if own == "token_adapter":
            continue  # inside the wrapper of the embeddings, which is merged as a whole
        merged: Any = getattr(module, "token_adapter", module)
        merged.merge()
        setattr(student.get_submodule(parent), own, merged.get_base_layer())


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        cure = "students.*.lora needs peft: pip install -e '.[one-gpu]'"
        raise StepFailed(cure) from error
    return peft
