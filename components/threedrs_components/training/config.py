"""Configuration of the training loop. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from threedrs_platform.config import CONDUCT, Config

Strategy = Literal["single", "ddp", "deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"]


class TrainingConfig(Config):
    """One stage of joint fine-tuning: AdamW, cosine schedule to zero after a linear warm-up."""

    steps: NonNegativeInt = 350
    """0 trains nothing: the student's start is probed, asked and scored as it is. The losses and
    all other settings of training are without effect then."""
    scenes_per_step: PositiveInt = 4
    """Scenes of one optimizer step over all workers and accumulation rounds."""
    questions_per_scene: PositiveInt = 18
    """Questions behind one visual prefix; 1 is the released behaviour."""
    batches: Literal["scenes", "tasks"] = "scenes"
    """scenes: epochs of all scenes, each visit with questions of any task, drawn anew. tasks, as
    released: an epoch asks every question once, and a step asks those of one task (grounding,
    captions, answers); the last step of a task, if not full, is dropped."""
    shuffle_frames: bool = False
    """Show the frames in another order each time. For frames without an order in time: it hinders
    a student from knowing its few training scenes by heart. The released code keeps the order."""
    learning_rate: PositiveFloat = 2e-3
    """The language model, and every group that is not set below."""
    projector_learning_rate: NonNegativeFloat | None = None
    """Of the projector; null: as `learning_rate`."""
    head_learning_rate: NonNegativeFloat | None = None
    """Grounding head, fusion, and the heads of 3D objectives."""
    vision_learning_rate_factor: NonNegativeFloat = 0.5
    """The vision tower's rate as a share of learning_rate; 0 freezes it."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which rates rise; a cosine to zero follows."""
    warmup_from: Literal["first_step", "zero"] = "first_step"
    """Whether the first step of the warm-up moves already; zero, as released, wastes it."""
    weight_decay: NonNegativeFloat = 0.0
    """Of AdamW."""
    clip: PositiveFloat = 1.0
    """Largest gradient norm."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """adamw_8bit keeps both moments in one byte per weight, by block (arXiv 2110.02861); it needs
    bitsandbytes."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format in which passes are computed; weights that learn are kept in float32 unless the
    strategy or `lora` says otherwise."""
    gradient_accumulation: Annotated[PositiveInt | None, CONDUCT] = 1
    """Rounds of a step, each with as many scenes per worker as are left; null: one scene a round,
    whatever the number of workers."""
    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100
    """Steps between checkpoints that an interrupted training goes on from."""
    checkpoint_seconds: Annotated[NonNegativeFloat, CONDUCT] = 60.0
    """Longest time without a checkpoint, besides, where one worker trains and a checkpoint is no
    larger than 0.25 GB: a short training loses a minute, not 100 steps. 0: by steps alone."""
    log_every: Annotated[PositiveInt, CONDUCT] = 10
    """Steps between the points of curves."""
    validate_every: Annotated[NonNegativeInt, CONDUCT] = 0
    """Steps between looks at the scenes of `held_out`, for pruning and curves; 0 never looks."""
    rounds_ahead: Annotated[NonNegativeInt, CONDUCT] = 2
    """Accumulation rounds whose scenes and features are read while one is computed; 0: none."""
    scene_memory_gib: Annotated[PositiveFloat, CONDUCT] = 0.5
    """GiB of the host's memory in which each worker holds scenes and features, mapped files
    included, for another visit. What it does not hold is read again."""
    strategy: Annotated[Strategy, CONDUCT] = "single"
    """single: one process. ddp: each worker holds all weights. deepspeed_zero1, 2, 3: workers share
    out the optimizer's states, then the gradients, then the weights (ZeRO, arXiv 1910.02054)."""
    offload: Annotated[Literal["none", "optimizer"], CONDUCT] = "none"
    """optimizer: its states and the float32 weights, 12 bytes per weight that learns, lie in the
    memory of the host, and the update is computed there. Only with DeepSpeed."""
    workers: Annotated[PositiveInt, CONDUCT] = 1
    """Processes that train together, each on a GPU of its own or all on the CPU."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.validate_every and not self.steps:
            raise ValueError("nothing is trained (steps: 0), so nothing is validated on the way")
        if self.batches == "tasks" and self.questions_per_scene != 1:
            raise ValueError("batches 'tasks' takes questions one by one: questions_per_scene: 1")
        return self

    @model_validator(mode="after")
    def _offload_has_a_host(self) -> Self:
        if self.offload == "optimizer" and not self.strategy.startswith("deepspeed"):
            raise ValueError(
                f"offload 'optimizer' is done by DeepSpeed; strategy is {self.strategy!r}: "
                "set strategy: deepspeed_zero2"
            )
        if self.offload == "optimizer" and self.optimizer == "adamw_8bit":
            raise ValueError("offloaded states lie on the host, where AdamW is not in 8 bits")
        return self

    @field_validator("workers")
    @classmethod
    def _scenes_divide(cls, workers: int, info: ValidationInfo) -> int:
        scenes, rounds = (info.data.get(n) for n in ("scenes_per_step", "gradient_accumulation"))
        if scenes and scenes % (parts := workers * (rounds or 1)):
            raise ValueError(
                f"{workers} workers x {rounds or 1} accumulation rounds do not divide "
                f"scenes_per_step: {scenes}; use a multiple of {parts}, or other workers"
            )
        return workers

    def rounds(self, world: int) -> int:
        """Accumulation rounds of a step that so many workers share."""
        return self.gradient_accumulation or max(1, self.scenes_per_step // world)
