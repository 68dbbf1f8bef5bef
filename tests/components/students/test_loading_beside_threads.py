"""Loading a student swaps torch's initialisers for the whole process; other threads must wait."""

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
    ("owner", "name", "slowed"),
    [
        (SiglipQwen2, "model_class", LlavaOnevisionForConditionalGeneration),
        (student, "GroundingHead", GroundingHead),
    ],
    ids=["model", "head"],
)
def test_weights_made_while_a_student_is_loaded_are_initialised(
    owner: Any, name: str, slowed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(random_student(), tmp_path)
    expected, made = fresh_weights(), []
    other = threading.Thread(target=lambda: made.append(fresh_weights()))

    class Slow(slowed):  # type: ignore[misc]
        def __init__(self, argument: Any) -> None:
            other.start()
            other.join(0.3)
            assert not made
            super().__init__(argument)

    monkeypatch.setattr(owner, name, Slow)
    open_student(tmp_path)
    other.join()
    assert torch.equal(made[0], expected)
