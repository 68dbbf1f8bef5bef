"""The fused cross-entropy is the plain one, or is refused by name."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch.nn.functional import cross_entropy

from threedrs_components.objectives import fused_cross_entropy as fused
from threedrs_components.objectives.text import TextConfig
from threedrs_components.testing.synthetic import random_student
from threedrs_platform.errors import ConfigError

INSTALLED = find_spec(fused.PACKAGE) is not None and torch.cuda.is_available()


@pytest.mark.skipif(not INSTALLED, reason="needs liger-kernel and a GPU")
def test_losses_and_gradients_are_those_of_torch() -> None:
    logits = torch.randn(9, 301, device="cuda", requires_grad=True)
    targets = torch.randint(0, 301, (9,), device="cuda")
    weights = torch.rand(9, device="cuda")
    expected = cross_entropy(logits, targets, reduction="none")
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    found = fused.fused_cross_entropy(logits * 1.0, targets)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)


def test_a_missing_package_and_a_cpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    student = random_student()
    monkeypatch.setattr(fused, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"text\.fused: liger-kernel is not installed"):
        TextConfig(fused=True).build(student)
    monkeypatch.setattr(fused, "PACKAGE", "torch")
    with pytest.raises(ConfigError, match=r"text\.fused: .* the student is on cpu"):
        TextConfig(fused=True).build(student)
    assert TextConfig(fused=True).identity() == TextConfig().identity()
