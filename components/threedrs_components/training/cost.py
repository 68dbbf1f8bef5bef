"""What training and answering cost: memory, arithmetic, bytes. Pure functions of sizes; no torch.

Estimates, made before anything runs. A multiplication and its addition are two operations (FLOPs).
"""

from __future__ import annotations

from dataclasses import dataclass

from threedrs_components.students.sizes import StudentSize, TextSize, VisionSize
from threedrs_components.training.config import Strategy

SHARDED_FROM = {"deepspeed_zero1": 1, "deepspeed_zero2": 2, "deepspeed_zero3": 3}
"""Stages of ZeRO: 1 splits optimizer states over the GPUs, 2 gradients too, 3 weights too."""
MOMENT_BYTES = {"adamw": 8, "adamw_8bit": 2}
"""Per trainable parameter: two moments, in float32 or in 8 bits."""
MASTER_BYTES = 4
"""DeepSpeed updates a float32 copy of the weights that learn."""
OFFLOADED_BYTES = 4 + 2 + 2
"""What else DeepSpeed 0.19 keeps on the host per trainable parameter: gradients in float32, a
buffer of the weights in 16 bits, and gradients that accumulate over rounds in 16 bits."""
GATHERED_PARAMETERS = 1_000_000_000
"""Weights that stage 3 holds in whole at one time, at most: DeepSpeed's default."""
CONTEXT_BYTES = 1.5 * 2**30
"""CUDA, NCCL and what the allocator cannot use."""


@dataclass(frozen=True)
class Learning:
    """How many parameters there are, and how many of them learn."""

    parameters: int
    trainable: int
    adapted: bool = False
    """By adapters: what is frozen beside them is held as narrow as the arithmetic."""


def learning(
    size: StudentSize, frozen: tuple[str, ...], heads: int, adapters: int | None = None
) -> Learning:
    """Parameters of a student with its heads.

    Args:
        size: of the student.
        frozen: parts that do not learn: vision, projector, language.
        heads: parameters beside the published model; they always learn.
        adapters: of low rank, which learn in place of the language model.
    """
    parts = {
        "vision": size.vision.parameters,
        "projector": size.projector,
        "language": size.text.parameters,
    }
    if adapters is not None:
        frozen = (*frozen, "language")
    own = sum(count for part, count in parts.items() if part not in frozen)
    extra = heads + (adapters or 0)
    return Learning(size.parameters + extra, own + extra, adapters is not None)


def low_rank_parameters(text: TextSize, rank: int, targets: tuple[str, ...]) -> int:
    """Of adapters at some matrices of every layer: rank x (inputs + outputs) each.

    Args:
        text: the language model.
        rank: of the adapters.
        targets: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; others count 0.
    """
    wide, narrow, ff = text.width, text.key_value_width, text.ff
    sums = {
        "q_proj": wide + text.query_width,
        "k_proj": wide + narrow,
        "v_proj": wide + narrow,
        "o_proj": text.query_width + wide,
        "gate_proj": wide + ff,
        "up_proj": wide + ff,
        "down_proj": ff + wide,
    }
    return text.layers * rank * sum(sums.get(name, 0) for name in targets)


@dataclass(frozen=True)
class StateBytes:
    """Bytes of weights, gradients and optimizer states on one GPU, and in the host's memory."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float = 0.0
    """What ZeRO-3 brings together for the layers at work."""
    host: float = 0.0
    """Per GPU: optimizer states that are kept on the CPU."""

    @property
    def saved(self) -> float:
        """All that the next step needs of the last."""
        return self.weights + self.optimizer

    @property
    def on_gpu(self) -> float:
        """All that a GPU holds between two steps."""
        return self.weights + self.gradients + self.optimizer + self.gathered


def state_bytes(
    count: Learning,
    strategy: Strategy,
    gpus: int,
    *,
    bf16: bool,
    optimizer: str = "adamw",
    offload: bool = False,
) -> StateBytes:
    """Memory that does not depend on the batch, per GPU.

    `single` and `ddp` hold float32 weights: 4 (weights) + 4 (gradients) + 8 (moments) bytes per
    parameter that learns, 4 for others, or 2 beside adapters with bf16; DDP has gradients twice,
    in buckets. ZeRO with bf16 holds 2 + 2 + 4 (master) + 8, so 16 all the same, and divides by the
    GPUs what its stage splits.
    """
    stage = SHARDED_FROM.get(strategy, 0)
    of_weight = 2 if bf16 and stage else 4
    master = MASTER_BYTES if of_weight < MASTER_BYTES else 0
    share = [1, 1, 1]
    for split in range(stage):
        share[split] = gpus
    optimizer_bytes = count.trainable * (MOMENT_BYTES[optimizer] + master) / share[0]
    gradients = count.trainable * of_weight / share[1]
    if strategy == "ddp" and gpus > 1:
        gradients *= 2
    of_frozen = 2 if bf16 and count.adapted else of_weight
    frozen = (count.parameters - count.trainable) * of_frozen
    whole = frozen + count.trainable * of_weight
    weights = whole / share[2]
    gathered = min(GATHERED_PARAMETERS * of_weight, whole - weights)
    if offload and stage:
        host = optimizer_bytes + count.trainable * OFFLOADED_BYTES / share[0]
        kept = gradients if stage == 1 else 0.0
        return StateBytes(weights, kept, 0.0, gathered, host=host)
    return StateBytes(weights, gradients, optimizer_bytes, gathered)


@dataclass(frozen=True)
class Visit:
    """One scene as it is put through a student: frames, and questions behind one visual prefix."""

    frames: int
    patches: int
    """Of one frame, as the tower sees them."""
    prefix: int
    """Positions of the language model before the first question."""
    questions: int
    question_tokens: int
    answer_tokens: int

    @property
    def tokens(self) -> int:
        """Positions of the language model, the prefix counted once."""
        return self.prefix + self.questions * (self.question_tokens + self.answer_tokens)


def activation_bytes(
    size: StudentSize, visit: Visit, scenes: int, *, checkpointed: bool, vision_learns: bool
) -> float:
    """Memory of one pass over some scenes in 16-bit numbers, without that of attention scores.

    A layer keeps about 2 x (6 width + 2 key-values + 4 ff) bytes per token: inputs of its matrices
    and norms, both halves of the gate. With checkpoints every layer keeps its input, and one layer
    at a time the rest. To that come logits of the answers in float32, twice.
    """
    text, vision = size.text, size.vision
    of_text = 2 * (6 * text.width + 2 * text.key_value_width + 4 * text.ff)
    of_vision = 2 * (8 * vision.width + 2 * vision.ff)
    patches = visit.frames * visit.patches
    kept = _kept(text.layers, 2 * text.width, of_text, checkpointed) * visit.tokens
    if vision_learns:
        kept += _kept(vision.layers, 2 * vision.width, of_vision, checkpointed) * patches
    logits = 2 * 4 * text.vocabulary * visit.questions * visit.answer_tokens
    return scenes * float(kept + logits)


def _kept(layers: int, of_input: int, of_layer: int, checkpointed: bool) -> int:
    return layers * of_input + of_layer if checkpointed else layers * of_layer


def tower_flops(vision: VisionSize, projector: int, frames: int, patches: int) -> float:
    """One pass of the tower and the projector: 2 per weight and patch, 4 n^2 width of attention.

    A projector that merges patches multiplies as many fewer rows.
    """
    linear = 2 * (vision.layers * vision.matrices + projector / vision.merged) * patches
    return frames * float(linear + 4 * vision.layers * vision.width * patches * patches)


def language_flops(text: TextSize, visit: Visit) -> float:
    """One pass of the language model over a visit, the prefix counted once.

    2 per weight and token; of attention 4 times the queries' width per pair of a token and one
    before it or itself: half the square of the prefix, and for each question the prefix and half
    its own square.
    """
    question = visit.question_tokens + visit.answer_tokens
    pairs = visit.prefix**2 / 2 + visit.questions * (question * visit.prefix + question**2 / 2)
    linear = 2.0 * text.layers * text.matrices * visit.tokens
    head = 2.0 * text.vocabulary * text.width * visit.questions * visit.answer_tokens
    return linear + head + 4.0 * text.layers * text.query_width * pairs


def training_flops(size: StudentSize, visit: Visit, frozen: tuple[str, ...]) -> float:
    """Forwards and backwards over a visit; recomputing checkpoints is no useful work.

    Backwards is twice forwards: once for the states, once for the weights. A frozen tower has no
    way back at all; a frozen language model has the first half.
    """
    tower = tower_flops(size.vision, size.projector, visit.frames, visit.patches)
    language = language_flops(size.text, visit)
    return tower * (1 if "vision" in frozen else 3) + language * (2 if "language" in frozen else 3)


def answering_flops(size: StudentSize, visit: Visit) -> tuple[float, float]:
    """Reading a scene with all its questions, and writing the answers token by token."""
    asked = Visit(
        visit.frames, visit.patches, visit.prefix, visit.questions, visit.question_tokens, 0
    )
    reading = tower_flops(size.vision, size.projector, visit.frames, visit.patches)
    reading += language_flops(size.text, asked)
    return reading, language_flops(size.text, visit) - language_flops(size.text, asked)


def training_checkpoint_bytes(
    count: Learning, strategy: Strategy, *, bf16: bool, optimizer: str = "adamw"
) -> float:
    """One checkpoint of training on disk: weights that learn, and what the optimizer holds."""
    learns = Learning(count.trainable, count.trainable)
    return state_bytes(learns, strategy, 1, bf16=bf16, optimizer=optimizer).saved
