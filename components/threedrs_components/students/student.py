"""The student contract: frames to visual tokens, one prefix per scene, questions behind it.

A kind of student is a subclass that says how frames become tokens and what its modules are called;
the order of the sequence stands in its chat markup. No student knows a loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from threedrs_components.students.fusion import Fusion, Source
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.grounding_head import GroundingHead
from threedrs_components.students.object_features import (
    EIGHTH_OF_CELL,
    HALF_OF_PATCH,
    object_features,
    pooled,
    released_weights,
)
from threedrs_components.students.passes import (
    Frames,
    Prefill,
    Regions,
    StudentOutput,
    Vision,
)
from threedrs_components.students.places import Place
from threedrs_components.students.position3d import MICRO_SINE, SineEncoding
from threedrs_components.students.settings import MicroWidths, Part, StudentSettings
from threedrs_components.students.shared_prefix import ATTENTION, PrefixLayout, restarting
from threedrs_components.students.tokenizer import (
    MICRO_CHAT,
    ChatMarkup,
    StoredWords,
    StudentTokenizer,
)
from threedrs_components.students.tower_grid import at_token_grid
from threedrs_platform.errors import CheckpointError, DataError


class Student(nn.Module):
    """A multimodal LLM that shows its states. It computes in the one format of its weights."""

    model_class: ClassVar[type[PreTrainedModel]]
    """Of transformers, with a language model at `model.language_model`."""
    micro_chat: ClassVar[ChatMarkup] = MICRO_CHAT
    """Markup of the micro student. Where newlines stand is said by the configuration."""
    real_chat: ClassVar[ChatMarkup]
    """Markup that published weights were trained with."""
    visual_token: ClassVar[str] = "video_token_id"
    """Which field of the transformers configuration names the placeholder of a visual token."""
    not_loaded: ClassVar[tuple[str, ...]] = ()
    """Patterns of tensors in published files that the model has no place for."""
    head_names: ClassVar[Mapping[str, str]] = {}
    """Patterns of published names, and what they are in the grounding head."""
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]]
    """Beginnings of parameter names inside `model`, the first that fits decides; all others belong
    to the language model."""

    def __init__(
        self, config: StudentSettings, model: PreTrainedModel, tokenizer: StudentTokenizer
    ) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        # Any: the classes of transformers share no type for what is read of them here.
        self.model: Any = model
        self.grounding = GroundingHead(self.width)
        self.fusion: Fusion | None = None
        self.sine = MICRO_SINE if config.size == "micro" else SineEncoding()
        self.model.model.language_model.set_attn_implementation(ATTENTION)
        if config.gradient_checkpointing:
            # Re-entrant checkpoints have no gradient where no input has one: behind frozen parts.
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        unread = self.unread()
        for name, parameter in self.named_parameters():
            is_unread = name.removeprefix("model.").startswith(unread)
            if is_unread or self.part_of(name) in config.frozen:
                parameter.requires_grad_(False)

    @classmethod
    @abstractmethod
    def micro_fields(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> dict[str, Any]:
        """Fields of a micro student's transformers configuration that only its architecture has.

        Among them `vision_config`, and in `text_config` what is not in all language models.
        """

    @classmethod
    def published_config(
        cls, folder: Path, stored: Mapping[str, Any], words: StoredWords
    ) -> tuple[PretrainedConfig, Mapping[str, str] | None]:
        """The transformers configuration of published weights.

        Args:
            folder: of the weights.
            stored: its config.json.
            words: its tokenizer.

        Returns:
            The configuration, and patterns of stored tensor names with what they become, where
            transformers does not know the layout.

        Raises:
            CheckpointError: the weights are not for this kind of student.
        """
        config_class: Any = cls.model_class.config_class
        return config_class.from_pretrained(folder), None

    @classmethod
    def micro_markup(cls, config: StudentSettings) -> ChatMarkup:
        """Chat of a micro student, as configured."""
        return replace(cls.micro_chat, newline=config.newline)

    @classmethod
    def published_tensors(cls, folder: Path, stored: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """All stored tensors under transformers names, for a layout that renaming does not turn
        into them; None where it does, or transformers knows the layout."""
        return None

    @classmethod
    def trained_ids(cls, stored: Mapping[str, Any]) -> tuple[int, ...]:
        """Ids of `<ground>` and `<coord>`, where the config.json of weights tells that they know
        them."""
        return ()

    @classmethod
    def markup(cls, config: StudentSettings) -> ChatMarkup:
        """Chat of published weights, as configured."""
        return replace(cls.real_chat, newline=config.newline)

    @abstractmethod
    def patch_states(self, images: Tensor) -> Tensor:
        """Tower states [B, n, Cv], row by row, of images [B, H, W, 3] uint8."""

    @abstractmethod
    def patches(self, images: Tensor) -> Tensor:
        """Projected tokens [B, R, R, C] before pooling of images [B, H, W, 3] uint8."""

    def patches_and_maps(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same in one look, and maps [B, P, P, C] that the language model adds further on."""
        return self.patches(images), ()

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the frames that the vision tower takes."""

    @property
    @abstractmethod
    def patch_size(self) -> int:
        """Side of the pixel square behind one tower state."""

    @property
    @abstractmethod
    def grid(self) -> int:
        """P, token rows and columns per frame."""

    @property
    @abstractmethod
    def vision_width(self) -> int:
        """Cv, the width of the tower's states."""

    def unread(self) -> tuple[str, ...]:
        """Beginnings of the names, inside `model`, of parameters that never have a gradient."""
        return ()

    def pool(self, patches: Tensor) -> Tensor:
        """Tokens [B, P, P, C] of patches [B, R, R, C]; a tower that merges them has R = P."""
        return patches

    def prefix_positions(self, num_frames: int) -> Tensor:
        """Positions [..., V] of the prefix tokens; leading axes are those of a rotary embedding."""
        return torch.arange(self.tokenizer.prefix_length(num_frames, self.grid, self.config.blind))

    def newline(self) -> Tensor:
        """[C] what ends a row, or all frames, where the markup has newlines."""
        vector: Tensor = self.model.model.image_newline
        return vector

    @classmethod
    def part_of(cls, name: str) -> str:
        """Part of the student that one of its parameters belongs to: a `Part`, or "heads"."""
        if not name.startswith("model."):
            return "heads"
        inner = name.removeprefix("model.")
        fitting = (part for prefix, part in cls.part_prefixes if inner.startswith(prefix))
        return next(fitting, "language")

    def parameters_of(self, part: Part) -> list[nn.Parameter]:
        """All parameters of a part."""
        return [value for name, value in self.named_parameters() if self.part_of(name) == part]

    def fuse(self, settings: FusionSettings, teacher_width: int, source: Source) -> None:
        """Read a teacher's features from now on; a student that has learned to goes on as it is.

        Args:
            settings: of fusion.
            teacher_width: D of the features.
            source: what their files say of where they come from.

        Raises:
            CheckpointError: it has learned with other settings, or other features.
        """
        if self.fusion is None:
            fusion = Fusion(settings, self.width, teacher_width, source)
            self.fusion = fusion.to(self.device, self.dtype)
            return
        if self.fusion.settings != settings:
            raise CheckpointError(
                "the student to start from has learned with another fusion: "
                f"{self.fusion.settings!r}; set `fusion` to it, or start from another student"
            )
        self.fusion.check_source(source, teacher_width)

    @property
    def width(self) -> int:
        """C, the width of the language model."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.grounding.no_object.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.grounding.no_object.dtype

    def vision(self, images: Tensor) -> Vision | None:
        """What the tower makes of frames [S, F, H, W, 3] uint8; None for a blind student."""
        if self.config.blind:
            return None
        if images.shape[2:4] != (self.image_size, self.image_size):
            raise DataError(
                f"the student reads frames of {self.image_size} x {self.image_size} pixels, the "
                f"prepared ones have {images.shape[2]} x {images.shape[3]}; "
                f"set prepare.image_size: {self.image_size} and prepare.grid: {self.grid}"
            )
        sizes = tuple(images.shape[:2])
        patches, maps = self.patches_and_maps(images.flatten(0, 1))
        return Vision(
            tokens=_unflatten(self.pool(patches), 0, sizes),
            maps=tuple(_unflatten(each, 0, sizes) for each in maps),
            patches=None if self.config.patch_grid is None else _unflatten(patches, 0, sizes),
        )

    def look(self, frames: Frames) -> Vision | None:
        """The same of frames some of which may be hidden from the language model."""
        vision = self.vision(frames.images)
        if vision is None or frames.hidden is None:
            return vision
        assert frames.stand_in is not None, "whoever hides frames says what stands for them"
        return vision.without(frames.hidden, frames.stand_in)

    def prefix(self, frames: Frames, vision: Vision | None) -> Tensor:
        """Embeddings [S, V, C]: the header, then frame by frame as the markup says."""
        scenes = frames.images.shape[0]
        header = self._marks(self.tokenizer.header, (scenes,))
        if vision is None:
            return header
        tokens = self.placed(self.fused(vision.tokens, frames), frames)
        tokens = in_order(tokens, frames.order)
        return torch.cat([header.to(tokens.dtype), self._laid_out(tokens)], dim=1)

    def fused(self, tokens: Tensor, frames: Frames) -> Tensor:
        """Tokens [S, F, P, P, C] with what a teacher's features add, in all but hidden frames.

        Object features of the vision branch and `<coord>` keep the tokens without it: whatever
        they find in the teacher's features, they find by way of the language model.

        Raises:
            DataError: the student has learned to read features, and none are given.
        """
        if self.fusion is None:
            return tokens
        if frames.guidance is None:
            raise DataError(
                "the student was trained with a teacher's features added to its visual tokens "
                f"(fusion.mode: {self.fusion.settings.mode}) and answers nothing without them; "
                f"give the features that {self.fusion.source['teacher']} has of these scenes"
            )
        fused: Tensor = self.fusion(tokens, frames.guidance)
        if frames.hidden is None:
            return fused
        return torch.where(frames.hidden[..., None, None, None], tokens, fused)

    def placed(self, tokens: Tensor, frames: Frames) -> Tensor:
        """Tokens [S, F, P, P, C] with what the student is told of where they are."""
        if not self.config.position_encoding:
            return tokens
        encoding = self.sine(frames.coordinates, self.width)
        # Coordinates are zero where there is no depth, and zero is a place like any other.
        return tokens + (encoding * (frames.counts > 0)[..., None]).to(tokens.dtype)

    def added_inside(self, frames: Frames, vision: Vision | None, length: int) -> dict[str, Any]:
        """Further inputs of a language model that adds maps to the states of visual tokens.

        Args:
            frames: of S scenes.
            vision: their tokens and maps.
            length: tokens of the pass, the prefixes of the scenes first.
        """
        return {}

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings [..., C] of ids [...]."""
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def embed_questions(self, ids: Tensor, regions: Regions, vision: Vision | None) -> Tensor:
        """Embeddings [N, C]; to each `<coord>` what is known of its region is added."""
        embedded = self.embed(ids)
        if len(regions.tokens) == 0 or (vision is None and not self.config.position_encoding):
            return embedded
        # float32, in which what is added is rounded once, by the sum's format.
        pointed = torch.zeros(len(regions.tokens), self.width, device=self.device)
        if vision is not None and self.config.coord_input == "region":
            pointed = pointed + _of_regions(regions, vision.tokens)
        if self.config.position_encoding and not self.config.blind:
            pointed = pointed + self.sine(regions.boxes[:, :3], self.width)
        return embedded.index_add(0, regions.tokens, pointed.to(embedded.dtype))

    def forward(
        self,
        frames: Frames,
        layout: PrefixLayout,
        ids: Tensor,
        regions: Regions,
        layers: Sequence[Place] = (-1,),
    ) -> StudentOutput:
        """One pass over S prefixes and all their questions, in the flat layout.

        Args:
            frames: of S scenes.
            layout: prefix length and question lengths.
            ids: [N] question tokens, scene by scene.
            regions: what `<coord>` tokens point at.
            layers: places whose states are wanted at the visual tokens.
        """
        vision = self.look(frames)
        prefix = self.prefix(frames, vision)
        questions = self.embed_questions(ids, regions, vision)
        # Under autocast the projector narrows the prefix; words come from the table as they are.
        flat = torch.cat([prefix.flatten(0, 1), questions.to(prefix.dtype)])[None]
        positions = layout.positions_behind(self.prefix_positions(frames.images.shape[1]))
        outputs = self._language(
            flat,
            layers,
            position_ids=_batched(positions).to(self.device),
            packing=layout.packing(self.device),
            **self.added_inside(frames, vision, flat.shape[1]),
        )
        cut = layout.scenes * layout.prefix
        hidden = self._before_layers(frames, vision, layers) | {
            layer: self._visual_states(_unflatten(states[0, :cut], 0, (layout.scenes, -1)), frames)
            for layer, states in outputs.items()
            if layer in layers and vision is not None
        }
        return StudentOutput(outputs[-1][0, cut:], hidden, vision)

    def prefill(self, frames: Frames, layers: Sequence[Place] = (-1,)) -> Prefill:
        """Compute one scene's prefix and keep its keys and values.

        Args:
            frames: of one scene, S = 1.
            layers: places whose states are wanted at the visual tokens.
        """
        vision = self.look(frames)
        prefix = self.prefix(frames, vision)
        positions = self.prefix_positions(frames.images.shape[1])
        cache = self.empty_cache()
        outputs = self._language(
            prefix,
            layers,
            position_ids=_batched(positions).to(self.device),
            past_key_values=cache,
            use_cache=True,
            **self.added_inside(frames, vision, prefix.shape[1]),
        )
        hidden = self._before_layers(frames, vision, layers) | {
            layer: self._visual_states(states, frames)
            for layer, states in outputs.items()
            if layer in layers and vision is not None
        }
        output = StudentOutput(prefix.new_zeros(0, self.width), hidden, vision)
        return Prefill(cache, prefix.shape[1], int(positions.max()) + 1, output)

    @torch.no_grad()
    def ask(
        self, prefill: Prefill, cache: DynamicCache, embedded: Tensor, layout: PrefixLayout
    ) -> Tensor:
        """States [N, C] of questions behind a scene's prefix; the cache keeps their keys.

        Args:
            prefill: of the scene; its keys are shared by all questions, never copied.
            cache: an empty one.
            embedded: [N, C].
            layout: of the one scene.
        """
        offsets = restarting(layout.lengths[0]).to(self.device)
        packing = layout.packing(self.device)
        return self._behind(prefill, cache, embedded, offsets, packing=packing)

    @torch.no_grad()
    def continue_from(
        self, prefill: Prefill, cache: DynamicCache, embedded: Tensor, offsets: Tensor, seen: Tensor
    ) -> Tensor:
        """States [n, C] of further tokens; the cache grows by them.

        Args:
            prefill: of the scene.
            cache: of what was asked before.
            embedded: [n, C].
            offsets: [n] place of each token behind the prefix, in its own conversation.
            seen: [n, cached + n] bool, what each token may see beside the prefix.
        """
        return self._behind(prefill, cache, embedded, offsets, mask=seen[None, None])

    def _behind(
        self,
        prefill: Prefill,
        cache: DynamicCache,
        embedded: Tensor,
        offsets: Tensor,
        **inputs: Any,
    ) -> Tensor:
        outputs = self._language(
            embedded[None],
            (-1,),
            position_ids=(prefill.next_position + offsets)[None],
            past_key_values=cache,
            use_cache=True,
            prefix=prefill.cache,
            **inputs,
        )
        return outputs[-1][0]

    def width_at(self, place: Place) -> int:
        """Width of the states of a place."""
        return self.vision_width if place == "tower" else self.width

    @property
    def num_layers(self) -> int:
        """Layers of the language model."""
        return int(self.model.config.text_config.num_hidden_layers)

    def is_inner(self, place: Place) -> bool:
        """Whether a place is a layer of the language model whose states have no final norm."""
        return isinstance(place, int) and place not in (-1, self.num_layers)

    def normalised(self, states: Tensor) -> Tensor:
        """States [..., C] of a layer after the final norm."""
        normed: Tensor = self.model.model.language_model.norm(states)
        return normed

    def empty_cache(self) -> DynamicCache:
        """Keys and values of nothing."""
        return DynamicCache(config=self.model.config.text_config)

    def logits(self, states: Tensor) -> Tensor:
        """Vocabulary scores [n, words] float32 of chosen states [n, C]."""
        return self.narrow_logits(states).float()

    def narrow_logits(self, states: Tensor) -> Tensor:
        """The same in the number format that they are computed in."""
        scores: Tensor = self.model.get_output_embeddings()(states)
        return scores

    def object_features(
        self,
        weights: Tensor,
        boxes: Tensor,
        output: StudentOutput,
        patch_weights: Tensor | None = None,
    ) -> Tensor:
        """Candidate features [S, K, C].

        Args:
            weights: [S, K, F, P, P] share of each cell's pixels inside each candidate.
            boxes: [S, K, 6].
            output: of the pass.
            patch_weights: [S, K, F, R, R] the same for the patches before pooling; read only with
                released membership.

        Raises:
            DataError: patch weights are needed, but the scenes were prepared without.
        """
        if output.vision is None:
            sizes = (*weights.shape[:2], self.width)
            return torch.zeros(sizes, device=self.device, dtype=self.dtype)
        branch = self.config.object_features
        cells, seen, seen_weights = weights, output.vision.tokens, weights
        if self.config.object_membership == "released":
            cells = released_weights(weights, EIGHTH_OF_CELL)
            if output.vision.patches is not None:
                seen, seen_weights = output.vision.patches, self._patch_weights(patch_weights)
            seen_weights = released_weights(seen_weights, HALF_OF_PATCH)
        return object_features(
            pooled(cells, output.hidden[-1]) if branch in ("llm", "both") else None,
            pooled(seen_weights, seen) if branch in ("vision", "both") else None,
            self.sine(boxes[..., :3], self.width) if self.config.position_encoding else None,
        )

    def _patch_weights(self, patch_weights: Tensor | None) -> Tensor:
        if patch_weights is None:
            raise DataError(
                "released object features need weights of single patches: set prepare.patch_grid: "
                f"{self.image_size // self.patch_size}, or student object_membership: share"
            )
        return patch_weights

    def _laid_out(self, tokens: Tensor) -> Tensor:
        """Visual tokens [S, F, P, P, C] as they follow the header, [S, n, C]."""
        scenes, num_frames = tokens.shape[:2]
        markup, rows = self.tokenizer.chat, tokens
        if markup.newline == "row":
            newline = self.newline().expand(*tokens.shape[:3], 1, -1)
            rows = torch.cat([tokens, newline.to(tokens.dtype)], dim=3)
        frames = rows.flatten(2, 3)
        start, end = self.tokenizer.frame_start, self.tokenizer.frame_end
        if markup.numbers_frames:
            return self._numbered(frames)
        if start or end:
            around = [self._marks(ids, (scenes, num_frames)) for ids in (start, end)]
            frames = torch.cat([around[0].to(frames.dtype), frames, around[1].to(frames.dtype)], 2)
        flat = frames.flatten(1, 2)
        if markup.newline == "end":
            newline = self.newline().expand(scenes, 1, -1)
            flat = torch.cat([flat, newline.to(flat.dtype)], dim=1)
        return flat

    def _numbered(self, frames: Tensor) -> Tensor:
        """Tokens [S, F, n, C] as they follow the header: each frame behind marks of its own."""
        scenes, num_frames = frames.shape[:2]
        before = [self.tokenizer.before(frame) for frame in range(num_frames)]
        runs = [ids for start in before for ids in (start, self.tokenizer.frame_end)]
        # All at once: a strategy may have to gather the word table each time that it is asked.
        marks = self._marks([each for ids in runs for each in ids], (scenes,)).to(frames.dtype)
        parts = torch.split(marks, [len(ids) for ids in runs], dim=1)
        around = zip(parts[::2], frames.unbind(1), parts[1::2], strict=True)
        return torch.cat([piece for frame in around for piece in frame], dim=1)

    def _visual_states(self, prefix: Tensor, frames: Frames) -> Tensor:
        """Prefix states [S, V, C] to [S, F, P, P, C]: all that is no visual token is dropped."""
        side, num_frames, newline = self.grid, frames.images.shape[1], self.tokenizer.chat.newline
        visual = prefix[:, len(self.tokenizer.header) :]
        if newline == "end":
            visual = visual[:, :-1]
        if self.tokenizer.chat.numbers_frames:
            lengths = self.tokenizer.frame_lengths(num_frames, side)
            # One split: many slices would each have a gradient as long as the prefix.
            pieces = torch.split(visual, [each for frame in lengths for each in frame], dim=1)
            by_frame = torch.stack(pieces[1::3], dim=1)
        else:
            by_frame = _unflatten(visual, 1, (num_frames, -1))
            start, end = len(self.tokenizer.frame_start), len(self.tokenizer.frame_end)
            by_frame = by_frame[:, :, start : by_frame.shape[2] - end]
        # A row is as long as its tokens, or one longer: the newline.
        states = _unflatten(by_frame, 2, (side, -1))[:, :, :, :side]
        # The argsort of an order undoes it.
        return states if frames.order is None else in_order(states, frames.order.argsort(1))

    def _before_layers(
        self, frames: Frames, vision: Vision | None, places: Sequence[Place]
    ) -> dict[Place, Tensor]:
        """States [S, F, P, P, C or Cv] of those places that come before the language model."""
        seen: dict[Place, Tensor] = {}
        if vision is not None and "projector" in places:
            seen["projector"] = vision.tokens
        if vision is not None and "tower" in places:
            # A second look: a kind's `patches` does not give what its projector read.
            states = at_token_grid(self.patch_states(frames.images.flatten(0, 1)), self.grid)
            seen["tower"] = _unflatten(states, 0, tuple(frames.images.shape[:2]))
        return seen

    def _marks(self, ids: Sequence[int], sizes: tuple[int, ...]) -> Tensor:
        """Embeddings [*sizes, n, C] of n markup tokens."""
        embedded = self.embed(torch.tensor(ids, dtype=torch.long, device=self.device))
        return embedded.expand(*sizes, -1, -1)

    def _language(
        self, embedded: Tensor, layers: Sequence[Place], mask: Tensor | None = None, **inputs: Any
    ) -> dict[int, Tensor]:
        """Hidden states [1, n, C] by layer; -1 is always there."""
        inner = sorted({layer for layer in layers if isinstance(layer, int) and layer != -1})
        if inner:
            # A list, so that transformers keeps the states of these layers and of no others.
            inputs["output_hidden_states"] = inner
        inputs["attention_mask"] = mask
        inputs.setdefault("use_cache", False)
        output = self.model.model.language_model(inputs_embeds=embedded, **inputs)
        states = {layer: output.hidden_states[layer] for layer in inner}
        return {**states, -1: output.last_hidden_state}


def _of_regions(regions: Regions, tokens: Tensor) -> Tensor:
    """[R, C] means of visual tokens [S, F, P, P, C]; regions come scene by scene."""
    weights = [regions.weights[regions.scenes == scene] for scene in range(len(tokens))]
    found = [pooled(each[None], tokens[[scene]])[0] for scene, each in enumerate(weights)]
    return torch.cat(found)


def in_order(frames: Tensor, order: Tensor | None) -> Tensor:
    """[S, F, ...] with the frames of each scene in the order [S, F], if there is one."""
    if order is None:
        return frames
    return frames[torch.arange(len(order), device=order.device)[:, None], order]


def _batched(positions: Tensor) -> Tensor:
    """Positions [..., n] with the batch axis that transformers wants: [1, n], or [3, 1, n]."""
    return positions[..., None, :]


def _unflatten(tensor: Tensor, dimension: int, sizes: tuple[int, ...]) -> Tensor:
    shape = tensor.shape
    return tensor.reshape(*shape[:dimension], *sizes, *shape[dimension + 1 :])
