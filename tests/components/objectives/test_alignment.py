"""Alignment loss and its projection heads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from threedrs_components.objectives.alignment.config import AlignmentConfig, known_losses
from threedrs_components.objectives.alignment.head import (
    AlignmentHead,
    alignment_loss,
    distances,
)
from threedrs_components.objectives.alignment.objective import Alignment
from threedrs_components.objectives.objective import StudentPass
from threedrs_components.students.batches import stack_frames
from threedrs_components.testing.synthetic import random_scene, random_student


def loss_of(student: Tensor, teacher: Tensor, loss: str = "cosine") -> Tensor:
    return alignment_loss(student, teacher, distances(AlignmentConfig(loss=loss).modules()))


def test_same_direction_costs_nothing_and_opposite_costs_two() -> None:
    teacher = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert loss_of(10 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert loss_of(-teacher, teacher).item() == pytest.approx(2.0)


def test_cosine_is_the_papers_loss_plus_one() -> None:
    student = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    paper = -(1.0 + 0.5**0.5) / 2
    assert loss_of(student, teacher).item() == pytest.approx(1 + paper)


def test_euclidean_is_the_squared_distance_of_unit_vectors() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    units = [values / values.norm(dim=1, keepdim=True) for values in (student, teacher)]
    expected = ((units[0] - units[1]) ** 2).sum(dim=1).mean()
    assert loss_of(student, teacher, "euclidean").item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("loss", "times"), [("cosine", 1), ("euclidean", 2), ("cosine+euclidean", 3)]
)
def test_losses_of_directions_are_one_loss_at_three_weights(loss: str, times: int) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4), torch.randn(5, 4)
    assert loss_of(student, teacher, loss).item() == pytest.approx(
        times * loss_of(student, teacher).item()
    )


def gram(values: Tensor) -> Tensor:
    units = values / values.norm(dim=-1, keepdim=True)
    return torch.matmul(units, units.T)


@pytest.mark.parametrize("rows", [1024, 3])
def test_gram_compares_the_cosines_inside_each_scene(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threedrs_components.objectives.token_gram.GRAM_ROWS", rows)
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 7, 4, requires_grad=True), torch.randn(2, 7, 6)[..., :4]
    by_hand = torch.stack(
        [
            (gram(own) - gram(target)).abs().mean()
            for own, target in zip(student, teacher, strict=True)
        ]
    ).mean()
    loss = loss_of(student, teacher, "gram")
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert loss.item() != pytest.approx(
        loss_of(student.flatten(0, 1), teacher.flatten(0, 1), "gram").item()
    )
    (found,) = torch.autograd.grad(loss, student)
    (expected,) = torch.autograd.grad(by_hand, student)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_gram_does_not_see_a_rotation_of_all_features_and_the_cosine_does() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(9, 4)
    turned = teacher @ torch.linalg.qr(torch.randn(4, 4)).Q
    assert loss_of(turned, teacher, "gram").item() == pytest.approx(0, abs=1e-6)
    both = loss_of(turned, teacher, "cosine+gram").item()
    assert both == pytest.approx(loss_of(turned, teacher).item(), abs=1e-5)


def test_the_head_compares_scenes_one_by_one() -> None:
    torch.manual_seed(0)
    head = AlignmentHead(AlignmentConfig(loss="gram", initialisation="fan_in"), [6], 5)
    states, teacher = torch.randn(2, 3, 3, 6), torch.randn(2, 3, 3, 5)
    apart = [head([states[row, None]], teacher[row, None])[0].item() for row in range(2)]
    assert head([states], teacher)[0].item() == pytest.approx(sum(apart) / 2)


def test_a_sum_is_spelled_in_one_way_and_made_of_known_losses() -> None:
    assert AlignmentConfig(loss="gram+cosine") == AlignmentConfig(loss="cosine+gram")
    with pytest.raises(ValueError, match="no loss 'cosin'; known: cosine, euclidean, gram"):
        AlignmentConfig(loss="cosin+gram")
    with pytest.raises(ValueError, match="names a loss twice; set weight"):
        AlignmentConfig(loss="cosine+cosine")


@pytest.mark.parametrize("loss", known_losses())
def test_every_loss_is_zero_for_a_perfect_student_and_positive_for_another(loss: str) -> None:
    torch.manual_seed(0)
    teacher, other = torch.randn(2, 7, 4), torch.randn(2, 7, 4)
    assert loss_of(3 * teacher, teacher, loss).item() == pytest.approx(0, abs=1e-6)
    assert loss_of(other, teacher, loss).item() > 0.1


def test_only_the_student_gets_a_gradient() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    loss = loss_of(student, teacher)
    student_gradient, teacher_gradient = torch.autograd.grad(
        loss, (student, teacher), allow_unused=True
    )
    assert student_gradient.any() and teacher_gradient is None


def test_bfloat16_features_are_compared_in_float32() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(50, 64).bfloat16(), torch.randn(50, 64).bfloat16()
    assert loss_of(student, teacher).dtype == torch.float32
    exact = loss_of(student.double(), teacher.double())
    assert loss_of(student, teacher).item() == pytest.approx(exact.item(), abs=1e-6)


def test_other_tokens_or_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 8\).*\(4, 9\).*same width"):
        loss_of(torch.zeros(4, 8), torch.zeros(4, 9))


def test_head_averages_its_layers() -> None:
    torch.manual_seed(0)
    head = AlignmentHead(AlignmentConfig(layers=(-1, -2), initialisation="fan_in"), [6, 6], 5)
    states, teacher = [torch.randn(2, 3, 3, 6), torch.randn(2, 3, 3, 6)], torch.randn(2, 3, 3, 5)
    loss, parts = head(states, teacher)
    single = [
        loss_of(project(hidden), teacher).item()
        for project, hidden in zip(head.projectors, states, strict=True)
    ]
    assert list(parts) == ["alignment/layer-1", "alignment/layer-2"]
    assert list(parts.values()) == pytest.approx(single)
    assert loss.item() == pytest.approx(sum(single) / 2)


def test_head_learns_a_linear_teacher() -> None:
    torch.manual_seed(0)
    head = AlignmentHead(AlignmentConfig(initialisation="fan_in"), [8], 4)
    states = torch.randn(64, 8)
    teacher = states @ torch.randn(8, 4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss, parts = head([states], teacher)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts["alignment/layer-1"])
    assert losses[-1] < 0.1 * losses[0]


def test_released_width_and_initialisation() -> None:
    torch.manual_seed(0)
    head = AlignmentHead(AlignmentConfig(), [128], 64)
    weights = dict(head.named_parameters())
    assert weights["projectors.0.widen.weight"].shape == (256, 128)
    assert weights["projectors.0.widen.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert not weights["projectors.0.project.bias"].any()


def test_targets_are_standardised_with_given_statistics() -> None:
    teacher = torch.tensor([[1.0, 10.0, 7.0], [3.0, 30.0, 7.0]])
    statistics = teacher.mean(dim=0), teacher.std(dim=0, correction=0)
    head = AlignmentHead(AlignmentConfig(standardise=True), [4], 3, statistics)
    assert torch.equal(head.targets(teacher), torch.tensor([[-1.0, -1, 0], [1, 1, 0]]))


def test_standardising_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="mean and deviation must be given"):
        AlignmentHead(AlignmentConfig(standardise=True), [4], 3)


def test_hidden_states_must_match_the_layers() -> None:
    head = AlignmentHead(AlignmentConfig(layers=(-1, -2)), [4, 4], 3)
    with pytest.raises(ValueError, match=r"1 hidden states given, but layers are \(-1, -2\)"):
        head([torch.zeros(1, 4)], torch.zeros(1, 3))


def test_layers_may_be_summed_instead_of_averaged() -> None:
    torch.manual_seed(0)
    hidden, teacher = [torch.randn(1, 3, 8) for _ in range(3)], torch.randn(1, 3, 4)
    heads = [
        AlignmentHead(AlignmentConfig(layers=(-1, -2, -3), layer_losses=how), [8] * 3, 4)
        for how in ("mean", "sum")
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    mean, total = (head(hidden, teacher)[0].item() for head in heads)
    assert total == pytest.approx(3 * mean)


@pytest.mark.parametrize("how", ["raw", "normalised"])
def test_inner_layers_are_read_before_the_final_norm_or_after_it(how: str) -> None:
    student, scene = random_student(), random_scene("scene", 0)
    config = AlignmentConfig(layers=(-1, -2), inner_states=how)  # type: ignore[arg-type]
    head = AlignmentHead(config, [student.width] * len(config.layers), 4)
    seen: list[Tensor] = []
    head.forward = lambda states, teacher: seen.extend(states) or (torch.zeros(()), {})  # type: ignore[method-assign,assignment,func-returns-value]
    alignment = Alignment(config, head, None)  # type: ignore[arg-type]
    prefill = student.prefill(stack_frames([scene]), (-1, -2))
    hidden = prefill.output.hidden
    target = torch.zeros(1, 1)
    alignment(StudentPass(student, None, prefill.output, target), 1)  # type: ignore[arg-type]
    root_mean_square = seen[1].float().square().mean(-1).sqrt()
    assert torch.equal(seen[0], hidden[-1])
    assert torch.equal(seen[1], hidden[-2]) == (how == "raw")
    assert torch.allclose(root_mean_square, torch.ones(()), atol=1e-2) == (how == "normalised")
