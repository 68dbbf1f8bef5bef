"""DINOv2 and DINOv2 with registers: a class token, then registers, then patches."""

from __future__ import annotations

from typing import Any

from threedrs_components.teachers.image_encoder import ImageEncoder


def _plain() -> Any:
    from transformers import Dinov2Model

    return Dinov2Model


def _with_registers() -> Any:
    from transformers import Dinov2WithRegistersModel

    return Dinov2WithRegistersModel


DINOV2 = ImageEncoder(_plain, ("dinov2",), special_tokens=lambda shape: 1)
DINOV2_REGISTERS = ImageEncoder(
    _with_registers,
    ("dinov2_with_registers",),
    special_tokens=lambda shape: 1 + int(shape.num_register_tokens),
)
