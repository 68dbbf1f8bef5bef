"""Teacher configurations: which model, which weights, which layer, which micro widths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from threedrs_components.teachers.settings import (
    FrameTeacherConfig,
    Framing,
    ImageEncoderConfig,
    TeacherSettings,
)
from threedrs_platform.config import CONDUCT, PLACE, Config

if TYPE_CHECKING:
    from threedrs_components.teachers.flare.teacher import FLARETeacher
    from threedrs_components.teachers.image_encoder import ImageEncoderTeacher
    from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher
    from threedrs_components.teachers.vggt.teacher import VGGTTeacher


class VGGTArchitecture(Config):
    """Widths of a VGGT. The defaults are the micro model; `VGGT_1B` is the released one."""

    image_size: PositiveInt = 64
    """Width in pixels that frames are resized to; a multiple of the patch size."""
    patch_size: PositiveInt = 16
    embed_dim: PositiveInt = 64
    heads: PositiveInt = 4
    patch_embed_depth: PositiveInt = 2
    """Blocks of the per-frame ViT that makes the patch tokens."""
    depth: PositiveInt = 2
    """Pairs of one frame block and one global block."""
    mlp_ratio: PositiveFloat = 2.0
    num_registers: PositiveInt = 4
    """Register tokens of the ViT, and again of the aggregator."""
    dense_head: Literal["dpt", "cells"] = "cells"
    """How depth and points are read out: DPT as released, or one linear map to cells per token."""
    cells_per_patch: PositiveInt = 2
    """Side of the cell grid that the "cells" head predicts inside one patch."""
    dpt_layers: tuple[int, int, int, int] = (0, 0, 1, 1)
    """Blocks whose outputs the DPT head reads."""
    dpt_features: PositiveInt = 32
    dpt_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 64)
    camera_depth: PositiveInt = 1
    """Blocks in the trunk of the camera head."""
    camera_rounds: PositiveInt = 2
    """How often the camera head refines its guess."""
    track_head: bool = False
    """Whether the tensors of the released track head belong to the model; nothing uses them."""

    @model_validator(mode="after")
    def _widths_fit(self) -> VGGTArchitecture:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % (4 * self.heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} over heads {self.heads} must be a multiple of 4, "
                "because 2D rope splits each head into two axes of sine and cosine"
            )
        if not all(0 <= layer < self.depth for layer in self.dpt_layers):
            raise ValueError(f"dpt_layers {self.dpt_layers} must lie in 0..{self.depth - 1}")
        return self


VGGT_1B = VGGTArchitecture(
    image_size=518,
    patch_size=14,
    embed_dim=1024,
    heads=16,
    patch_embed_depth=24,
    depth=24,
    mlp_ratio=4.0,
    dense_head="dpt",
    dpt_layers=(4, 11, 17, 23),
    dpt_features=256,
    dpt_channels=(256, 512, 1024, 1024),
    camera_depth=4,
    camera_rounds=4,
    track_head=True,
)
"""The widths of facebook/VGGT-1B."""


class VGGTConfig(FrameTeacherConfig):
    """VGGT: many frames in, camera-aware dense features out. The 3D teacher of the paper."""

    weights: ClassVar[str] = "model.safetensors of facebook/VGGT-1B (CC BY-NC 4.0)"
    trainable: ClassVar[bool] = True

    kind: Literal["vggt"] = "vggt"
    checkpoint: Annotated[str | None, PLACE] = None
    """A .safetensors or .pt file; its own shapes then decide the widths."""
    framing: Framing = "aspect"
    architecture: VGGTArchitecture = VGGTArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    def build(self, device: str = "cpu") -> VGGTTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.vggt.teacher import VGGTTeacher

        return VGGTTeacher.load(self, device)


class FLAREConfig(FrameTeacherConfig):
    """FLARE: frames in, features of its pose-conditioned geometry decoders out."""

    weights: ClassVar[str] = "geometry_pose.pth of AntResearch/FLARE (non-commercial)"

    kind: Literal["flare"] = "flare"
    checkpoint: Annotated[str, PLACE]
    """The .pth file, or the same tensors as .safetensors."""
    stage: Literal["1", "2", "3", "1+3"] = "3"
    """1: the encoder, frame by frame; 2: camera-centric decoder over all frames; 3: the global
    geometry decoder, which the point head reads; 1+3: both side by side."""
    framing: Framing = "aspect"
    frames_per_pass: NonNegativeInt = 0
    """Frames that attend to each other, the first frame among them; 0 is all of them. The
    released model was trained on 2 to 8."""
    licence: str = "CC BY-NC-SA 4.0"

    @field_validator("frames_per_pass")
    @classmethod
    def _a_pair_at_least(cls, number: int) -> int:
        if number == 1:
            raise ValueError("1 frame has nothing to attend to; use 2 or more, or 0 for all")
        return number

    def build(self, device: str = "cpu") -> FLARETeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
        """
        from threedrs_components.teachers.flare.teacher import FLARETeacher

        return FLARETeacher.load(self, device)


class DINOv2Config(ImageEncoderConfig):
    """DINOv2: one frame in, 2D features out."""

    weights: ClassVar[str] = "facebook/dinov2-large (Apache 2.0)"

    kind: Literal["dinov2"] = "dinov2"
    checkpoint: Annotated[str, PLACE]
    """A folder in the transformers format, or the model.safetensors inside it."""
    image_size: PositiveInt | None = 224
    """224 gives the 16 x 16 tokens that the paper's code expects."""
    licence: str = "Apache-2.0"

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
        """
        from threedrs_components.teachers.dinov2 import DINOV2
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, DINOV2, device)


class DINOv2RegistersConfig(ImageEncoderConfig):
    """DINOv2 with registers: one frame in, 2D features without outlier tokens out."""

    weights: ClassVar[str] = "facebook/dinov2-with-registers-large (Apache 2.0)"

    kind: Literal["dinov2_reg"] = "dinov2_reg"
    checkpoint: Annotated[str, PLACE]
    """A folder in the transformers format, or the model.safetensors inside it."""
    image_size: PositiveInt | None = 224
    """224 gives 16 x 16 tokens."""
    licence: str = "Apache-2.0"

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
        """
        from threedrs_components.teachers.dinov2 import DINOV2_REGISTERS
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, DINOV2_REGISTERS, device)


class SigLIP2Config(ImageEncoderConfig):
    """SigLIP 2 of fixed resolution: one frame in, 2D features that know language out."""

    weights: ClassVar[str] = "google/siglip2-so400m-patch14-224 (Apache 2.0)"

    kind: Literal["siglip2"] = "siglip2"
    checkpoint: Annotated[str, PLACE]
    """A folder in the transformers format, or the model.safetensors inside it."""
    licence: str = "Apache-2.0"

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher
        from threedrs_components.teachers.siglip2 import SIGLIP2

        return ImageEncoderTeacher.load(self, SIGLIP2, device)


class PrecomputedConfig(TeacherSettings):
    """Features that were made elsewhere: one .arrow, .npz or .safetensors file per scene."""

    weights: ClassVar[str] = "a folder of feature files, <scene>.npz or <scene>/<any name>.npz"

    kind: Literal["precomputed"] = "precomputed"
    checkpoint: Annotated[str, PLACE]
    """The folder of feature files."""
    teacher: str = "unknown"
    """The model that made them; files that name their maker must name this one."""
    layer: int = -1
    """The layer they were read from; checked where a file says."""
    key: str | None = None
    """Name of the array in .npz and .safetensors files; None takes `feature`, `arr_0` or the
    only one."""
    rows: PositiveInt | None = None
    """Rows of the token grid; None finds them from the number of tokens."""
    licence: str = ""
    """Terms of the weights that made the features."""

    def build(self, device: str = "cpu") -> PrecomputedTeacher:
        """Open the folder; `device` has no effect.

        Raises:
            CheckpointError: there is no such folder, or it holds no features.
        """
        from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher

        return PrecomputedTeacher(self)


class MAEArchitecture(Config):
    """Widths of a masked autoencoder. The defaults are the micro model."""

    image_size: PositiveInt = 64
    patch_size: PositiveInt = 8
    hidden_size: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    mlp_ratio: PositiveFloat = 2.0
    """Of encoder and decoder."""
    decoder_hidden_size: PositiveInt = 64
    decoder_layers: PositiveInt = 1
    decoder_heads: PositiveInt = 4
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.625
    """Share of patches hidden in pretraining."""

    @model_validator(mode="after")
    def _widths_fit(self) -> MAEArchitecture:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        for name, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % heads:
                raise ValueError(f"{name} {width} is no multiple of its {heads} heads")
        return self


class MAEConfig(ImageEncoderConfig):
    """Masked autoencoder: one frame in, 2D features out. The 2D teacher of the comparison."""

    weights: ClassVar[str] = "facebook/vit-mae-large (CC BY-NC 4.0)"
    trainable: ClassVar[bool] = True

    kind: Literal["mae"] = "mae"
    checkpoint: Annotated[str | None, PLACE] = None
    """A folder in the transformers format, or the model.safetensors inside it."""
    architecture: MAEArchitecture = MAEArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher
        from threedrs_components.teachers.mae import MAE

        return ImageEncoderTeacher.load(self, MAE, device)


AnyTeacher = (
    VGGTConfig
    | FLAREConfig
    | DINOv2Config
    | DINOv2RegistersConfig
    | MAEConfig
    | SigLIP2Config
    | PrecomputedConfig
)
TeacherConfig = Annotated[AnyTeacher, Field(discriminator="kind")]
"""Every teacher there is; adding one means adding its config here."""
TrainableTeacherConfig = Annotated[VGGTConfig | MAEConfig, Field(discriminator="kind")]
"""Those that `pretraining` can make."""


class PretrainTeacherConfig(Config):
    """How a micro teacher is trained on the teacher world."""

    teacher: TrainableTeacherConfig = VGGTConfig()
    steps: PositiveInt = 600
    scenes_per_step: PositiveInt = 6
    """Every frame of each drawn scene is used."""
    learning_rate: PositiveFloat = 6e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps with a rising learning rate; a cosine to zero follows."""
    clip: PositiveFloat = 1.0
    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100
    """Steps between resumable checkpoints."""
    seed: Annotated[int, Field(ge=0)] = 0
