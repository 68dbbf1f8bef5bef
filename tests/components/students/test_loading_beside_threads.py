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
from threedrs_components.students.checkpoints import load_student, save_student
from threedrs_components.students.llava_video import LlavaVideo
from threedrs_components.testing.synthetic import random_student


def fresh_weights() -> Tensor:
    with seeded(3):
        return nn.Linear(32, 32).weight.detach().clone()


def test_weights_made_while_a_student_is_loaded_are_initialised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_student(random_student(), tmp_path)
    expected, made = fresh_weights(), []
    other = threading.Thread(target=lambda: made.append(fresh_weights()))

    class Slow(LlavaOnevisionForConditionalGeneration):  # type: ignore[no-untyped-call]
        def __init__(self, config: Any) -> None:
            other.start()
            other.join(0.3)
            super().__init__(config)

    monkeypatch.setattr(LlavaVideo, "model_class", Slow)
    load_student(tmp_path)
    other.join()
    assert torch.equal(made[0], expected)
