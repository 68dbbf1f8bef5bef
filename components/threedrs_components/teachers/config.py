"""Teacher configurations: which model, which weights, which layer, which micro widths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config

if TYPE_CHECKING:
    from threedrs_components.teachers.mae import MAETeacher
    from threedrs_components.teachers.vggt import VGGTTeacher


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
)
"""The widths of facebook/VGGT-1B."""


class VGGTConfig(Config):
    """VGGT: many frames in, camera-aware dense features out. The 3D teacher of the paper."""

    kind: Literal["vggt"] = "vggt"
    checkpoint: str | None = None
    """A .safetensors or .pt file; its own shapes then decide the widths."""
    layer: int = -1
    """Aggregator block whose (frame, global) output is the feature; -1 is the last."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 (accelerators only) runs under autocast; the residual stream stays float32."""
    licence: str = ""
    """Terms of the weights, kept with every feature file, e.g. "CC BY-NC 4.0"."""
    architecture: VGGTArchitecture = VGGTArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    def build(self, device: str = "cpu") -> VGGTTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.vggt import VGGTTeacher

        return VGGTTeacher.load(self, device)


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


class MAEConfig(Config):
    """Masked autoencoder: one frame in, 2D features out. The 2D teacher of the comparison."""

    kind: Literal["mae"] = "mae"
    checkpoint: str | None = None
    """A folder in the transformers format, or the model.safetensors inside it."""
    layer: int = -1
    """-1 is the output after the final LayerNorm; 0..layers-1 the raw output of that block."""
    licence: str = ""
    """Terms of the weights, kept with every feature file."""
    architecture: MAEArchitecture = MAEArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    def build(self, device: str = "cpu") -> MAETeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """
        from threedrs_components.teachers.mae import MAETeacher

        return MAETeacher.load(self, device)


TeacherConfig = Annotated[VGGTConfig | MAEConfig, Field(discriminator="kind")]
"""Every teacher there is; adding one means adding its config here."""


class PretrainTeacherConfig(Config):
    """How a micro teacher is trained on the teacher world."""

    teacher: TeacherConfig = VGGTConfig()
    steps: PositiveInt = 600
    scenes_per_step: PositiveInt = 6
    """Every frame of each drawn scene is used."""
    learning_rate: PositiveFloat = 6e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps with a rising learning rate; a cosine to zero follows."""
    clip: PositiveFloat = 1.0
    checkpoint_every: PositiveInt = 100
    """Steps between resumable checkpoints."""
    seed: Annotated[int, Field(ge=0)] = 0
