"""What goes into one pass of a student, and what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from threedrs_components.students.places import Place


@dataclass(frozen=True)
class Frames:
    """What the student sees of S scenes."""

    images: Tensor
    """[S, F, H, W, 3] uint8"""
    coordinates: Tensor
    """[S, F, P, P, 3] float32 metres"""
    counts: Tensor
    """[S, F, P, P]: valid pixels per cell; a cell without any gets no position encoding"""
    order: Tensor | None = None
    """[S, F] which frame the LLM reads first, second, ...; None: as they stand. Outputs always
    come in the order of the images."""
    guidance: Tensor | None = None
    """[S, F, P, P, D] a teacher's stored features, for a student that has learned to read them"""
    hidden: Tensor | None = None
    """[S, F] bool, frames that the LLM does not see; None: it sees all of them"""
    stand_in: Tensor | None = None
    """[C] what it sees in place of each token of a hidden frame"""

    def to(self, device: torch.device) -> Frames:
        """The same frames on another device."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Frames:
        """The same frames with every tensor changed."""
        changed: dict[str, Any] = {
            each.name: None if value is None else change(value)
            for each in dataclasses.fields(self)
            for value in (getattr(self, each.name),)
        }
        return Frames(**changed)


@dataclass(frozen=True)
class Regions:
    """Boxes that questions point at with `<coord>`. R regions."""

    tokens: Tensor
    """[R] index of the `<coord>` among the question tokens"""
    scenes: Tensor
    """[R] scene of the batch"""
    weights: Tensor
    """[R, F, P, P] share of each cell inside the box"""
    boxes: Tensor
    """[R, 6] metres"""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Regions:
        """The same regions with every tensor changed."""
        return Regions(*(change(getattr(self, each.name)) for each in dataclasses.fields(self)))


@dataclass(frozen=True)
class Vision:
    """What a student's tower and projector make of S scenes, before anything is added."""

    tokens: Tensor
    """[S, F, P, P, C] projected and pooled"""
    maps: tuple[Tensor, ...] = ()
    """Each [S, F, P, P, C]: map k is added to the states of visual tokens behind LLM layer k + 1.
    What happens to the tokens of a frame happens to its maps, or the frame is seen all the same."""
    patches: Tensor | None = None
    """[S, F, R, R, C] tokens before pooling, where object features are pooled from them"""

    def without(self, hidden: Tensor, stand_in: Tensor) -> Vision:
        """The same with a vector [C] for each token of hidden frames [S, F], and empty maps."""
        which = hidden[..., None, None, None]

        def put(value: Tensor, tokens: Tensor) -> Tensor:
            return torch.where(which, value.to(tokens.dtype), tokens)

        return Vision(
            put(stand_in, self.tokens),
            tuple(put(torch.zeros_like(stand_in), each) for each in self.maps),
            None if self.patches is None else put(stand_in, self.patches),
        )


@dataclass(frozen=True)
class StudentOutput:
    """States of one pass over S prefixes and N question tokens."""

    states: Tensor
    """[N, C] last hidden states of the question tokens"""
    hidden: dict[Place, Tensor]
    """By place, [S, F, P, P, C] at the visual tokens; -1 is after the final norm"""
    vision: Vision | None
    """None for a blind student"""


@dataclass
class Prefill:
    """One scene's prefix, computed once: the cache that its questions continue."""

    cache: DynamicCache
    length: int
    """Tokens in the prefix"""
    next_position: int
    """Where questions go on counting; less than `length` where a frame's tokens share positions"""
    output: StudentOutput
