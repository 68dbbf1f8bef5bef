"""LLaVA-Video as a student: frames to visual tokens, one prefix per scene, questions behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration

from threedrs_components.students.config import LlavaVideoConfig
from threedrs_components.students.grounding_head import GroundingHead
from threedrs_components.students.object_features import object_features, pooled
from threedrs_components.students.position3d import MICRO_SINE, SineEncoding
from threedrs_components.students.shared_prefix import ATTENTION, PrefixLayout
from threedrs_components.students.tokenizer import StudentTokenizer


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

    def to(self, device: torch.device) -> Frames:
        """The same on another device."""
        order = None if self.order is None else self.order.to(device)
        return Frames(
            self.images.to(device), self.coordinates.to(device), self.counts.to(device), order
        )


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

    def to(self, device: torch.device) -> Regions:
        """The same on another device."""
        return Regions(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))


@dataclass(frozen=True)
class StudentOutput:
    """States of one pass over S prefixes and N question tokens."""

    states: Tensor
    """[N, C] last hidden states of the question tokens"""
    hidden: dict[int, Tensor]
    """By layer, [S, F, P, P, C] at the visual tokens; -1 is after the final norm"""
    vision: Tensor | None
    """[S, F, P, P, C] projected tokens without position encoding; None for a blind student"""


@dataclass
class Prefill:
    """One scene's prefix, computed once: the cache that its questions continue."""

    cache: DynamicCache
    length: int
    output: StudentOutput


class LlavaVideo(nn.Module):
    """The student. Knows no loss; every tensor is float32 unless autocast says otherwise."""

    def __init__(
        self,
        config: LlavaVideoConfig,
        model: LlavaOnevisionForConditionalGeneration,
        tokenizer: StudentTokenizer,
    ) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        self.model: Any = model
        self.grounding = GroundingHead(self.width)
        self.sine = MICRO_SINE if config.size == "micro" else SineEncoding()
        self.model.model.language_model.set_attn_implementation(ATTENTION)
        if config.gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        # Nothing reads the tower's last norm, so it never has a gradient.
        self.model.model.vision_tower.post_layernorm.requires_grad_(False)

    @property
    def width(self) -> int:
        """C, the width of the language model."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def grid(self) -> int:
        """P, token rows and columns per frame."""
        vision = self.model.config.vision_config
        return -(-int(vision.image_size // vision.patch_size) // 2)

    @property
    def image_size(self) -> int:
        """Side of the frames that the vision tower takes."""
        return int(self.model.config.vision_config.image_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.grounding.no_object.device

    def vision(self, images: Tensor) -> Tensor | None:
        """Projected and pooled tokens [S, F, P, P, C] of frames [S, F, H, W, 3] uint8."""
        if self.config.blind:
            return None
        pixels = images.permute(0, 1, 4, 2, 3).to(self.grounding.no_object.dtype) / 127.5 - 1.0
        features = self.model.get_video_features(pixels, return_dict=True).pooler_output
        side = self.grid
        return _unflatten(features[:, :-1], 1, (images.shape[1], side, side))

    def prefix(self, frames: Frames, vision: Tensor | None) -> Tensor:
        """Embeddings [S, V, C]: header, then per frame P rows of P tokens and a newline."""
        scenes = frames.images.shape[0]
        header = self.embed(torch.tensor(self.tokenizer.header, device=self.device))
        header = header.expand(scenes, -1, -1)
        if vision is None:
            return header
        tokens = vision
        if self.config.position_encoding:
            encoding = self.sine(frames.coordinates, self.width)
            tokens = tokens + (encoding * (frames.counts > 0)[..., None]).to(tokens.dtype)
        if frames.order is not None:
            tokens = _reordered(tokens, frames.order)
        newline = self.model.model.image_newline.expand(*tokens.shape[:3], 1, -1)
        rows = torch.cat([tokens, newline.to(tokens.dtype)], dim=3)
        return torch.cat([header.to(tokens.dtype), rows.flatten(1, 3)], dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings [..., C] of ids [...]."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def embed_questions(self, ids: Tensor, regions: Regions, vision: Tensor | None) -> Tensor:
        """Embeddings [N, C]; to each `<coord>` what is known of its region is added."""
        embedded = self.embed(ids)
        if len(regions.tokens) == 0 or (vision is None and not self.config.position_encoding):
            return embedded
        pointed = torch.zeros(len(regions.tokens), self.width, device=self.device)
        if vision is not None and self.config.coord_input == "region":
            weights = regions.weights[:, None]
            pointed = pointed + pooled(weights, vision[regions.scenes]).squeeze(1)
        if self.config.position_encoding and not self.config.blind:
            pointed = pointed + self.sine(regions.boxes[:, :3], self.width)
        return embedded.index_add(0, regions.tokens, pointed.to(embedded.dtype))

    def forward(
        self,
        frames: Frames,
        layout: PrefixLayout,
        ids: Tensor,
        regions: Regions,
        layers: Sequence[int] = (-1,),
    ) -> StudentOutput:
        """One pass over S prefixes and all their questions, in the flat layout.

        Args:
            frames: of S scenes.
            layout: prefix length and question lengths.
            ids: [N] question tokens, scene by scene.
            regions: what `<coord>` tokens point at.
            layers: hidden states wanted at the visual tokens.
        """
        vision = self.vision(frames.images)
        prefix = self.prefix(frames, vision)
        questions = self.embed_questions(ids, regions, vision)
        flat = torch.cat([prefix.flatten(0, 1), questions.to(prefix.dtype)])[None]
        outputs = self._language(
            flat, layers, position_ids=layout.positions.to(self.device), layout=layout
        )
        cut = layout.scenes * layout.prefix
        hidden = {
            layer: self._visual_states(_unflatten(states[0, :cut], 0, (layout.scenes, -1)), frames)
            for layer, states in outputs.items()
            if layer in layers and vision is not None
        }
        return StudentOutput(outputs[-1][0, cut:], hidden, vision)

    def prefill(self, frames: Frames, layers: Sequence[int] = (-1,)) -> Prefill:
        """Compute one scene's prefix and keep its keys and values.

        Args:
            frames: of one scene, S = 1.
            layers: hidden states wanted at the visual tokens.
        """
        vision = self.vision(frames.images)
        prefix = self.prefix(frames, vision)
        cache = DynamicCache(config=self.model.config.text_config)
        outputs = self._language(prefix, layers, past_key_values=cache, use_cache=True)
        hidden = {
            layer: self._visual_states(states, frames)
            for layer, states in outputs.items()
            if layer in layers and vision is not None
        }
        states = prefix.new_zeros(0, self.width)
        return Prefill(cache, prefix.shape[1], StudentOutput(states, hidden, vision))

    def continue_from(
        self, prefill: Prefill, embedded: Tensor, positions: Tensor, mask: Tensor
    ) -> Tensor:
        """States [n, C] of further tokens; the cache grows by them.

        Args:
            prefill: of the scene; its keys are shared by all its questions, never copied.
            embedded: [n, C].
            positions: [n].
            mask: [n, cached + n] bool, what each token may see.
        """
        outputs = self._language(
            embedded[None],
            (-1,),
            position_ids=positions[None],
            past_key_values=prefill.cache,
            use_cache=True,
            mask=mask[None, None],
        )
        return outputs[-1][0]

    def logits(self, states: Tensor) -> Tensor:
        """Vocabulary scores [n, words] float32 of chosen states [n, C]."""
        scores: Tensor = self.model.get_output_embeddings()(states)
        return scores.float()

    def object_features(self, weights: Tensor, boxes: Tensor, output: StudentOutput) -> Tensor:
        """Candidate features [S, K, C] of weights [S, K, F, P, P] and boxes [S, K, 6]."""
        branch = self.config.object_features
        if output.vision is None:
            return torch.zeros(*weights.shape[:2], self.width, device=self.device)
        return object_features(
            weights,
            output.hidden[-1] if branch in ("llm", "both") else None,
            output.vision if branch in ("vision", "both") else None,
            self.sine(boxes[..., :3], self.width) if self.config.position_encoding else None,
        )

    def _language(
        self, embedded: Tensor, layers: Sequence[int], mask: Tensor | None = None, **inputs: Any
    ) -> dict[int, Tensor]:
        """Hidden states [1, n, C] by layer; -1 is always there."""
        inner = sorted({layer for layer in layers if layer != -1})
        if inner:
            inputs["output_hidden_states"] = inner
        # A mapping is taken as it is; a tensor would be rebuilt by transformers.
        inputs["attention_mask"] = {"full_attention": mask}
        inputs.setdefault("use_cache", False)
        output = self.model.model.language_model(inputs_embeds=embedded, **inputs)
        states = {layer: output.hidden_states[layer] for layer in inner}
        return {**states, -1: output.last_hidden_state}

    def _visual_states(self, prefix: Tensor, frames: Frames) -> Tensor:
        """Prefix states [S, V, C] to [S, F, P, P, C]; the newline column is dropped."""
        side, num_frames = self.grid, frames.images.shape[1]
        visual = prefix[:, len(self.tokenizer.header) :]
        states = _unflatten(visual, 1, (num_frames, side, side + 1))[:, :, :, :side]
        return states if frames.order is None else _reordered(states, frames.order.argsort(1))


def _reordered(frames: Tensor, order: Tensor) -> Tensor:
    """[S, F, ...] with the frames of each scene in the order [S, F]."""
    return frames[torch.arange(len(order), device=order.device)[:, None], order]


def _unflatten(tensor: Tensor, dimension: int, sizes: tuple[int, ...]) -> Tensor:
    shape = tensor.shape
    return tensor.reshape(*shape[:dimension], *sizes, *shape[dimension + 1 :])


def build_llava_video(config: LlavaVideoConfig, dtype: str = "float32") -> LlavaVideo:
    """Load `config.checkpoint`: a student folder, or real weights for size "7b".

    Raises:
        CheckpointError: there is no checkpoint, or it does not fit.
    """
    from threedrs_components.students.checkpoints import is_student, load_student
    from threedrs_components.students.real_weights import load_real_model
    from threedrs_platform.errors import CheckpointError

    if config.checkpoint is None:
        raise CheckpointError(
            "a micro student starts from the pretrained 2D student: set checkpoint to its folder "
            "(the pretrain step makes one)"
        )
    folder = Path(config.checkpoint)
    if is_student(folder):
        return load_student(folder, config)
    model, tokenizer = load_real_model(folder, dtype=getattr(torch, dtype))
    return LlavaVideo(config, model, tokenizer).to(model.dtype)
