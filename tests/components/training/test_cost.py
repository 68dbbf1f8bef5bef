"""What training costs, by hand: bytes of the strategies, tokens and arithmetic of a visit."""

import pytest

from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.sizes import StudentSize, TextSize, student_size
from threedrs_components.training.config import Strategy
from threedrs_components.training.cost import (
    Learning,
    Visit,
    activation_bytes,
    answering_flops,
    language_flops,
    learning,
    low_rank_parameters,
    state_bytes,
    tower_flops,
    training_flops,
)

EIGHT = Learning(8_000_000_000, 8_000_000_000)
LLAVA = Visit(32, 729, 6734, 1, 60, 5)


def size_of(kind: str = "llava_video") -> StudentSize:
    size = student_size(STUDENTS.read({"kind": kind, "size": "7b", "checkpoint": "/absent"}))
    assert size is not None
    return size


@pytest.mark.parametrize(
    ("strategy", "gpus", "gigabytes"),
    [
        ("single", 1, 128),
        ("ddp", 8, 160),
        ("deepspeed_zero1", 8, 16 + 16 + 12),
        ("deepspeed_zero2", 8, 16 + 2 + 12),
        ("deepspeed_zero3", 8, 2 + 2 + 12 + 2),
    ],
)
def test_eight_billion_parameters_take_16_bytes_each_split_by_the_stage(
    strategy: Strategy, gpus: int, gigabytes: float
) -> None:
    states = state_bytes(EIGHT, strategy, gpus, bf16=True)
    assert states.on_gpu == pytest.approx(gigabytes * 1e9) and states.host == 0


def test_adapters_an_8_bit_optimizer_and_offloading_leave_little() -> None:
    size = size_of()
    adapters = low_rank_parameters(size.text, 16, ("q_proj", "v_proj"))
    assert adapters == 28 * 16 * ((3584 + 3584) + (3584 + 512))
    count = learning(size, ("vision", "projector"), heads=0, adapters=adapters)
    assert count.trainable == adapters and count.parameters == size.parameters + adapters
    plain = state_bytes(count, "deepspeed_zero2", 1, bf16=True)
    small = state_bytes(count, "deepspeed_zero2", 1, bf16=True, optimizer="adamw_8bit")
    assert plain.optimizer - small.optimizer == 6 * adapters
    away = state_bytes(count, "deepspeed_zero2", 1, bf16=True, offload=True)
    assert away.optimizer == away.gradients == 0
    assert away.host == (4 + 8 + 4 + 2 + 2) * adapters
    assert state_bytes(count, "single", 1, bf16=True, offload=True).optimizer == 8 * adapters
    frozen = size.parameters
    assert state_bytes(count, "single", 1, bf16=True).weights == 2 * frozen + 4 * adapters


def test_checkpoints_of_activations_keep_one_input_per_layer() -> None:
    def gigabytes(*, checkpointed: bool) -> float:
        kept = activation_bytes(size_of(), LLAVA, 1, checkpointed=checkpointed, vision_learns=False)
        return kept / 1e9

    inputs, layer = 28 * 2 * 3584, 2 * (6 * 3584 + 2 * 512 + 4 * 18944)
    logits = 8 * 152_064 * 5
    assert gigabytes(checkpointed=True) == pytest.approx((6799 * (inputs + layer) + logits) / 1e9)
    assert gigabytes(checkpointed=False) == pytest.approx((6799 * 28 * layer + logits) / 1e9)


def test_arithmetic_of_a_small_decoder_by_hand() -> None:
    text = TextSize(10, 4, 8, 2, 2, 1, biased=True)
    # 2 x 4 x (4 + 2) of attention, 3 x 4 x 8 of the gate; tokens 5 + 2 x (2 + 1).
    assert text.matrices == 48 + 96
    linear, head = 2 * 2 * 144 * 11, 2 * 10 * 4 * 2 * 1
    pairs = 25 / 2 + 2 * (3 * 5 + 9 / 2)
    expected = linear + head + 4 * 2 * 4 * pairs
    assert language_flops(text, Visit(1, 1, 5, 2, 2, 1)) == expected


def test_more_questions_behind_one_prefix_cost_little() -> None:
    size = size_of()
    one, sixteen = (Visit(32, 729, 6734, questions, 60, 5) for questions in (1, 16))
    ratio = training_flops(size, sixteen, ()) / training_flops(size, one, ())
    assert 1.0 < ratio < 1.2


def test_a_frozen_tower_has_no_way_back() -> None:
    size = size_of()
    tower = tower_flops(size.vision, size.projector, 32, 729)
    saved = training_flops(size, LLAVA, ()) - training_flops(size, LLAVA, ("vision",))
    assert saved == pytest.approx(2 * tower)
    assert training_flops(size, LLAVA, ()) == pytest.approx(
        3 * (tower + language_flops(size.text, LLAVA))
    )


def test_reading_and_writing_answers_make_one_pass() -> None:
    size = size_of()
    together = tower_flops(size.vision, size.projector, 32, 729) + language_flops(size.text, LLAVA)
    assert sum(answering_flops(size, LLAVA)) == pytest.approx(together)
