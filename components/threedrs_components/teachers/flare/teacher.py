"""FLARE as a teacher: encoder, coarse pose, camera-centric decoder, global geometry decoder.

Written from the architecture's description (3DRS names the teacher, neither the map nor its width;
stage 3 feeds the point head and is the default). The first frame is the reference view, where the
released pipeline picks the view most like the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from threedrs_components.teachers.flare.layers import (
    POSE_WIDTH,
    CrossBlock,
    DecoderBlock,
    PoseBlock,
    PoseHead,
    SelfBlock,
    condition,
    heads_of,
    norm,
)
from threedrs_components.teachers.flare.sizes import DECODER_DEPTH, ENCODER_DEPTH
from threedrs_components.teachers.pixels import FrameSize
from threedrs_components.teachers.teacher import (
    FrameTeacher,
    TeacherCard,
    check_precision,
    file_digest,
)
from threedrs_components.teachers.transformer import Mlp, PatchProjection, Rotation
from threedrs_components.teachers.weights import find_weights, load_strictly, read_tensors
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.teachers.flare.config import FLAREConfig

HEIGHT, WIDTH = 384, 512
COARSE = 4
"""Tokens across a coarse token."""
INJECTED = {2: 4, 5: 10, 8: 16}
"""Encoder blocks whose inputs decoder layers get besides."""
ENCODED_TOGETHER = 16
"""Frames in one pass where no decoder runs."""


@dataclass(frozen=True)
class FLARESizes:
    """Widths, read off a checkpoint's shapes; depths are the released ones."""

    encoder: int
    patch: int
    decoder: int
    harmonics: int

    @classmethod
    def of(cls, path: Path, tensors: dict[str, Tensor]) -> FLARESizes:
        """Read them.

        Raises:
            CheckpointError: the tensors are not those of a FLARE.
        """
        try:
            encoder, _, patch, _ = tensors["patch_embed.proj.weight"].shape
            decoder = tensors["decoder_embed.weight"].shape[0]
            inputs = tensors["pose_head.pose_proj.weight"].shape[1]
        except KeyError as error:
            raise CheckpointError(
                f"{path}: no tensor {error.args[0]!r}, so this is no FLARE checkpoint"
            ) from error
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"{path}: tensors of no FLARE's shapes: {error}") from error
        return cls(encoder, patch, decoder, (inputs // POSE_WIDTH - 1) // 2)


class Encoder(nn.Module):
    """Sees one view at a time."""

    def __init__(self, sizes: FLARESizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchProjection(sizes.patch, sizes.encoder)
        self.enc_blocks = nn.ModuleList(
            SelfBlock(sizes.encoder, "norm2") for _ in range(ENCODER_DEPTH)
        )
        self.enc_norm = norm(sizes.encoder)

    def encoded(self, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """[S, 3, H, W] in [0, 1] -> the input of every block and the last raw output, normalised.

        Each [S, rows * columns, C].
        """
        rows, columns = (side // self.sizes.patch for side in frames.shape[-2:])
        x = self.patch_embed(2 * frames - 1)
        rotation = _places(rows, columns, self.sizes.encoder, x.device)
        states = [x]
        for block in self.enc_blocks:
            states.append(block(states[-1], rotation))
        return states, self.enc_norm(states[-1])


class FLARE(Encoder):
    """The whole of what stage 3 needs; attribute names are the released ones."""

    def __init__(self, sizes: FLARESizes) -> None:
        super().__init__(sizes)
        wide, width = sizes.encoder, sizes.decoder

        def cameras() -> nn.ModuleList:
            return _repeated(lambda: PoseBlock(width, heads_of(width)))

        def embeds() -> nn.ModuleList:
            return _repeated(lambda: nn.Linear(width, width, bias=False))

        self.patch_embed_coarse2 = PatchProjection(COARSE, wide, wide)
        self.enc_norm_coarse = norm(wide)
        self.dec_blocks, self.dec_blocks2 = (
            _repeated(lambda: DecoderBlock(width)) for _ in range(2)
        )
        self.dec_blocks_fine, self.dec_blocks_point = (
            _repeated(lambda: SelfBlock(width, "norm3")) for _ in range(2)
        )
        self.dec_blocks_point_cross = _repeated(lambda: CrossBlock(width))
        for suffix in ("", "_fine", "_point"):
            self.add_module(f"decoder_embed{suffix}", nn.Linear(wide, width))
            self.add_module(f"cam_cond_encoder{suffix}", cameras())
            self.add_module(f"cam_cond_embed{suffix}", embeds())
            for role in ("ref", "source"):
                token = nn.Parameter(torch.zeros(1, 1, width))
                self.register_parameter(f"pose_token_{role}{suffix}", token)
        self.cam_cond_embed_point_pre = embeds()
        self.dec_cam_norm, self.dec_cam_norm_fine = norm(width), norm(width)
        self.dec_norm_fine, self.dec_norm_point = norm(width), norm(width)
        for stage in (2, 3):
            injections = [nn.Linear(wide, width, bias=False) for _ in INJECTED]
            self.add_module(f"inject_stage{stage}", nn.ModuleList(injections))
            norms = nn.ModuleList(norm(wide) for _ in INJECTED)
            self.add_module(f"enc_inject_stage{stage}", norms)
        self.embed_pose = Mlp(7, width, width)
        self.adaLN_modulation = _repeated(
            lambda: nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        )
        self.pose_head = PoseHead(width, sizes.harmonics)
        self.pose_head_stage2 = PoseHead(width, sizes.harmonics)

    def stages(self, frames: Tensor) -> dict[int, list[Tensor]]:
        """Outputs of all layers by stage; the last of each is normalised.

        Args:
            frames: [S, 3, H, W] in [0, 1], sides multiples of 4 patches, two views at least.

        Returns:
            Per layer [S, rows * columns, C].
        """
        states, encoded = self.encoded(frames)
        rows, columns = (side // self.sizes.patch for side in frames.shape[-2:])
        coarse = self._coarse_poses(encoded, rows, columns)
        places = _places(rows, columns, self.sizes.decoder, frames.device)
        second, pose_tokens = self._second(encoded, states, places, _camera(coarse))
        refined = _in_float32(self.pose_head_stage2, pose_tokens)
        third = self._third(encoded, states, places, second, _camera(refined))
        return {1: [*states[1:-1], encoded], 2: second, 3: third}

    def _coarse_poses(self, encoded: Tensor, rows: int, columns: int) -> Tensor:
        """[S, 9] from tokens of four by four patches: the reference view against all others."""
        maps = torch.unflatten(encoded.transpose(1, 2), 2, (rows, columns))
        x = self.enc_norm_coarse(self.patch_embed_coarse2(maps))
        x = self.get_submodule("decoder_embed")(x)
        views, tokens, _ = x.shape
        one = _places(rows // COARSE, columns // COARSE, self.sizes.decoder, x.device)
        rest = one.repeated(views - 1)
        pose = self._pose_tokens("", views)
        for first, others, camera, embed in zip(
            self.dec_blocks, self.dec_blocks2, *self._conditions(""), strict=True
        ):
            here, there = x[:1], x[1:].reshape(1, (views - 1) * tokens, -1)
            reference, sources = first(here, there, one, rest), others(there, here, rest, one)
            x = torch.cat([reference, sources.reshape(views - 1, tokens, -1)])
            pose, x = condition(camera, embed, pose, x)
        return _in_float32(self.pose_head, self.dec_cam_norm(pose))

    def _second(
        self, encoded: Tensor, states: list[Tensor], places: Rotation, camera: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Camera-centric geometry: attention over all views, pose tokens told the coarse poses."""
        x = self.get_submodule("decoder_embed_fine")(encoded)
        pose, known = self._pose_tokens("_fine", len(x)), self.embed_pose(camera).unsqueeze(1)
        everywhere, outputs = places.repeated(len(x)), []
        blocks = (self.dec_blocks_fine, self.adaLN_modulation, *self._conditions("_fine"))
        for layer, (block, modulate, encoder, embed) in enumerate(zip(*blocks, strict=True)):
            shift, scale, _ = modulate(known).chunk(3, -1)
            pose = pose * (1 + scale) + shift
            x = block(x.flatten(0, 1).unsqueeze(0), everywhere).view_as(x)
            pose, x = condition(encoder, embed, pose, x)
            x = self._injected(2, layer, x, states)
            outputs.append(x)
        outputs[-1] = self.dec_norm_fine(outputs[-1])
        return outputs, self.dec_cam_norm_fine(pose)

    def _third(
        self,
        encoded: Tensor,
        states: list[Tensor],
        places: Rotation,
        second: list[Tensor],
        camera: Tensor,
    ) -> list[Tensor]:
        """Global geometry: every layer looks at its twin in stage 2, then over all views."""
        x = self.get_submodule("decoder_embed_point")(encoded)
        pose = self._pose_tokens("_point", len(x)) + self.embed_pose(camera).unsqueeze(1)
        everywhere, outputs = places.repeated(len(x)), []
        blocks = (
            self.dec_blocks_point_cross,
            self.dec_blocks_point,
            self.cam_cond_embed_point_pre,
            *self._conditions("_point"),
        )
        for layer, (cross, block, told, encoder, embed) in enumerate(zip(*blocks, strict=True)):
            x = cross(x, second[layer] + told(pose), places, places)
            x = block(x.flatten(0, 1).unsqueeze(0), everywhere).view_as(x)
            pose, x = condition(encoder, embed, pose, x)
            x = self._injected(3, layer, x, states)
            outputs.append(x)
        outputs[-1] = self.dec_norm_point(outputs[-1])
        return outputs

    def _conditions(self, suffix: str) -> tuple[nn.ModuleList, nn.ModuleList]:
        found = [self.get_submodule(f"cam_cond_{name}{suffix}") for name in ("encoder", "embed")]
        assert isinstance(found[0], nn.ModuleList)
        assert isinstance(found[1], nn.ModuleList)
        return found[0], found[1]

    def _pose_tokens(self, suffix: str, views: int) -> Tensor:
        """[S, 1, C]: one token for the reference view, another for all others."""
        reference, source = (
            self.get_parameter(f"pose_token_{role}{suffix}") for role in ("ref", "source")
        )
        return torch.cat([reference, source.expand(views - 1, -1, -1)])

    def _injected(self, stage: int, layer: int, x: Tensor, states: list[Tensor]) -> Tensor:
        if layer not in INJECTED:
            return x
        place = list(INJECTED).index(layer)
        project = self.get_submodule(f"inject_stage{stage}.{place}")
        normalise = self.get_submodule(f"enc_inject_stage{stage}.{place}")
        out: Tensor = x + project(normalise(states[INJECTED[layer]]))
        return out


class FLARETeacher(FrameTeacher):
    """Reads one stage of FLARE, or the encoder beside stage 3."""

    frame_size: FrameSize

    def __init__(self, model: Encoder, config: FLAREConfig, digest: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config, sizes = config, model.sizes
        self.stages = tuple(int(stage) for stage in config.stage.split("+"))
        config.check_layer()
        self.frame_size = FrameSize(HEIGHT, WIDTH, COARSE * sizes.patch, config.framing)
        self.grid = WIDTH // sizes.patch
        passes = f"{config.frames_per_pass or 'all'} frames per pass, first frame the reference"
        words = f"{self.frame_size}; {passes}; {config.precision}"
        output = f"stage {config.stage}, layer {config.layer}"
        self.card = TeacherCard(config.kind, digest, config.licence, words, config.layer, output)

    @classmethod
    def load(cls, config: FLAREConfig, device: str = "cpu") -> FLARETeacher:
        """Build what the stage needs at the checkpoint's own widths, and fill it.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
            ConfigError: bfloat16 is asked of a CPU.
        """
        check_precision(config.precision, device)
        path = find_weights(config.checkpoint, config.weight_files)
        tensors = read_tensors(path, ("",))
        sizes = FLARESizes.of(path, tensors)
        with torch.device("meta"):
            model = Encoder(sizes) if config.stage == "1" else FLARE(sizes)
        # The released file holds heads and leftovers that no feature needs.
        wanted = {name: tensors[name] for name in model.state_dict() if name in tensors}
        load_strictly(model, wanted, path)
        return cls(model.to(device), config, file_digest(path))

    @torch.inference_mode()
    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, channels] float32; all are one scene."""
        device = next(self.model.parameters()).device
        frames = self.frame_size(images).to(device)
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            tokens = torch.cat([self._tokens(each) for each in self._passes(frames)])
        rows = frames.shape[-2] // self.model.sizes.patch
        return torch.unflatten(tokens[: len(frames)].float(), 1, (rows, -1))

    def _passes(self, frames: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Frames that are computed together, and how many of them were asked before."""
        if not isinstance(self.model, FLARE):
            yield from ((chunk, 0) for chunk in torch.split(frames, ENCODED_TOGETHER))
            return
        together = self.config.frames_per_pass or len(frames)
        if len(frames) <= together or len(frames) < 2:
            # The decoders need a pair: a frame alone is its own partner.
            yield (frames if len(frames) > 1 else frames.expand(2, -1, -1, -1)), 0
            return
        for index, others in enumerate(torch.split(frames[1:], together - 1)):
            yield torch.cat([frames[:1], others]), min(index, 1)

    def _tokens(self, work: tuple[Tensor, int]) -> Tensor:
        frames, known = work
        if not isinstance(self.model, FLARE):
            states, encoded = self.model.encoded(frames)
            return encoded if self.config.layer < 0 else states[self.config.layer + 1]
        outputs = self.model.stages(frames)
        found = [outputs[stage][self.config.layer] for stage in self.stages]
        return torch.cat([each.float() for each in found], -1)[known:]


def _repeated(make: Callable[[], nn.Module]) -> nn.ModuleList:
    return nn.ModuleList(make() for _ in range(DECODER_DEPTH))


def _places(rows: int, columns: int, width: int, device: torch.device) -> Rotation:
    """Rotary positions of a view, counted from 0."""
    return Rotation.of_grid(rows, columns, 0, width // heads_of(width), first=0).to(device)


def _camera(pose: Tensor) -> Tensor:
    """[S, 9] raw poses -> [S, 7]: quaternion, then translation over the views' mean distance."""
    translation = pose[:, :3]
    distance = translation.norm(dim=-1, keepdim=True).mean(0) + 1e-8
    return torch.cat([pose[:, 3:7], translation / distance], -1)


def _in_float32(head: nn.Module, pose_tokens: Tensor) -> Tensor:
    """Poses [S, 9]; their octaves reach 2^41, so they are never computed in half precision."""
    with torch.autocast(pose_tokens.device.type, enabled=False):
        poses: Tensor = head(pose_tokens[:, 0].float())
    return poses
