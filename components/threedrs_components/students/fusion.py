"""Fusion: a teacher's stored features, merged into the visual tokens before the language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_platform.errors import CheckpointError, ConfigError, DataError, Fault

Source = Mapping[str, Any]
"""What the files of features say of the teacher, its weights and its layer, by name."""


class Fusion(nn.Module):
    """What is added to visual tokens. A part of the student: it is saved and loaded with it."""

    def __init__(
        self, settings: FusionSettings, width: int, teacher_width: int, source: Source
    ) -> None:
        """Draw its weights from torch's generator, by the defaults of its layers, as VG-LLM does.

        Args:
            settings: with a mode that is on.
            width: C of the student.
            teacher_width: D of the stored features.
            source: whose features they are; no others may be given later.
        """
        super().__init__()
        self.settings, self.width = settings, width
        self.teacher_width, self.source = teacher_width, source
        self.norm = nn.RMSNorm(teacher_width, eps=1e-6)
        self.merge: nn.Module
        if settings.mode == "add":
            self.merge = _Merger(settings.width or 2 * width, width, teacher_width)
        else:
            self.merge = _CrossAttention(settings.heads, width, teacher_width)
        self.gate = nn.Parameter(torch.zeros(width)) if settings.gate == "zero" else None

    def forward(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Tokens [S, F, P, P, C] with what the features [S, F, P, P, D] of their cells add.

        Raises:
            DataError: other shapes.
        """
        self._check_shapes(tokens, guidance)
        features = self.norm(guidance.to(self.norm.weight.dtype))
        added: Tensor = self.merge(tokens, features)
        if self.gate is not None:
            added = self.gate * added
        return tokens + added.to(tokens.dtype)

    def _check_shapes(self, tokens: Tensor, guidance: Tensor) -> None:
        if tokens.dim() != 5 or tokens.shape[-1] != self.width:
            raise DataError(
                f"visual tokens of shape {list(tokens.shape)}; fusion takes [scenes, frames, rows, "
                f"columns, {self.width}], as the projector gives them"
            )
        wanted = [*tokens.shape[:-1], self.teacher_width]
        if list(guidance.shape) != wanted:
            raise DataError(
                f"teacher features of shape {list(guidance.shape)} for visual tokens of "
                f"{list(tokens.shape)}; give {wanted}: of the same frames and grid, with the "
                f"{self.teacher_width} channels that fusion has learned with"
            )

    def stored(self) -> dict[str, Any]:
        """What a student's config.json says of it."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "teacher_width": self.teacher_width,
            "source": dict(self.source),
        }

    @classmethod
    def of(cls, stored: dict[str, Any], width: int) -> Fusion:
        """A module as `stored` tells, for a student of a width; its weights are random."""
        settings = FusionSettings.model_validate(stored["settings"])
        return cls(settings, width, stored["teacher_width"], stored["source"])

    def check_source(self, source: Source, teacher_width: int) -> None:
        """Refuse features of another extraction than it has learned with.

        Raises:
            CheckpointError: another teacher, other weights of it, another layer or preprocessing.
        """
        own = {**self.source, "width": self.teacher_width}
        given = {**source, "width": teacher_width}
        differing = [name for name, value in own.items() if given.get(name) != value]
        if differing:
            told = "; ".join(f"{each} {own[each]!r}, not {given.get(each)!r}" for each in differing)
            raise CheckpointError(
                f"the student's fusion has learned with other features: {told}; give it those"
            )


class _Merger(nn.Module):
    """A two-layer MLP of the teacher's feature of the same cell."""

    def __init__(self, hidden: int, width: int, teacher_width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(teacher_width, hidden)
        self.project = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """[S, F, P, P, C]; the tokens themselves are not asked."""
        merged: Tensor = self.project(gelu(self.widen(features)))
        return merged


class _CrossAttention(nn.Module):
    """Each visual token asks the teacher's features of its own frame: memory P^4 per frame."""

    def __init__(self, heads: int, width: int, teacher_width: int) -> None:
        super().__init__()
        if width % heads:
            message = f"{heads} heads do not divide the student's width {width}"
            raise ConfigError([Fault(message, path="fusion.heads")])
        self.queries = nn.RMSNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(
            width, heads, kdim=teacher_width, vdim=teacher_width, batch_first=True
        )

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """[S, F, P, P, C]."""
        queries = self.queries(tokens.to(self.queries.weight.dtype)).flatten(0, 1).flatten(1, 2)
        known = features.flatten(0, 1).flatten(1, 2)
        found, _ = self.attention(queries, known, known, need_weights=False)
        merged: Tensor = found.reshape(tokens.shape)
        return merged
