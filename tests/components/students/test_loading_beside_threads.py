"""Loading a student must leave weights alone that other threads make meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from threedrs_components.randomness import seeded
from threedrs_components.students import student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.grounding_head import GroundingHead
from threedrs_components.students.registry import open_student
from threedrs_components.students.siglip_qwen2 import SiglipQwen2
from threedrs_components.testing.synthetic import random_student


def fresh_weights() -> Tensor:
    with seeded(3):
        return nn.Linear(32, 32).weight.detach().clone()


@pytest.mark.parametrize(
    ("owner", "name", "slowed", "slow"),
    [
        (
            SiglipQwen2,
            "model_class",
            LlavaOnevisionForConditionalGeneration,
            "initialize_weights",
        ),
        (student, "GroundingHead", GroundingHead, "__init__"),
    ],
    ids=["model", "head"],
)
def test_weights_made_while_a_student_is_loaded_are_initialised(
    owner: Any, name: str, slowed: Any, slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(random_student(), tmp_path)
    expected, made = fresh_weights(), []
    other = threading.Thread(target=lambda: made.append(fresh_weights()))

    def slowly(self: Any, *arguments: Any) -> None:
        other.start()
        other.join(0.3)
        # The initialisers of the whole process are swapped meanwhile; the head only is on meta.
        assert bool(made) == (slow == "__init__")
        getattr(slowed, slow)(self, *arguments)

    monkeypatch.setattr(owner, name, type("Slow", (slowed,), {slow: slowly}))
    open_student(tmp_path)
    other.join()
    assert torch.equal(made[0], expected)
