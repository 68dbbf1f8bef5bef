"""Depth and ray losses against loops over cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import softplus

from threedrs_components.objectives.depth import DepthConfig
from threedrs_components.objectives.depth_loss import depth_loss, proportion_loss
from threedrs_components.objectives.objective import Objective, StudentPass, TeacherFeatures
from threedrs_components.objectives.ray import RayConfig
from threedrs_components.objectives.ray_loss import ray_loss
from threedrs_components.objectives.token_head import TokenHead
from threedrs_components.scenes.prepared import PreparedScenes, scene_geometry, write_prepared
from threedrs_components.students.batches import collate, object_candidates
from threedrs_components.testing.synthetic import (
    random_scene,
    random_student,
    write_random_depth,
    write_random_features,
)
from threedrs_platform.errors import DataError

torch.set_num_threads(1)


def by_cells(depths: Tensor, measured: Tensor, slopes: float) -> Tensor:
    """Slow reference for one scene [F, P, P]."""
    frames, side, _ = depths.shape
    cells = [(f, r, c) for f in range(frames) for r in range(side) for c in range(side)]
    near: list[Tensor] = [
        (depths[cell] - measured[cell]).abs() for cell in cells if measured[cell] > 0
    ]
    loss = torch.stack(near).mean() if near else depths.new_zeros(())
    for down, right in ((1, 0), (0, 1)):
        steps = []
        for f, r, c in cells:
            other = (f, r + down, c + right)
            if other in cells and measured[f, r, c] > 0 and measured[other] > 0:
                own, true = depths[other] - depths[f, r, c], measured[other] - measured[f, r, c]
                steps.append((own - true).abs())
        if steps:
            loss = loss + slopes * torch.stack(steps).mean()
    return loss


@pytest.mark.parametrize("slopes", [0.0, 0.7])
def test_depth_is_compared_where_it_is_known(slopes: float) -> None:
    generator = torch.Generator().manual_seed(0)
    depths = torch.rand(3, 2, 4, 4, generator=generator).requires_grad_()
    measured = torch.rand(3, 2, 4, 4, generator=generator) + 0.5
    measured[torch.rand(3, 2, 4, 4, generator=generator) < 0.3] = 0
    measured[2] = 0
    fast = depth_loss(depths, measured, (measured > 0).float(), slopes=slopes)
    slow = torch.stack(
        [by_cells(own, true, slopes) for own, true in zip(depths, measured, strict=True)]
    )
    torch.testing.assert_close(fast, slow)
    assert fast[2] == 0, "nothing is known of the third scene"
    torch.testing.assert_close(
        torch.autograd.grad(fast.sum(), depths)[0], torch.autograd.grad(slow.sum(), depths)[0]
    )


def test_one_cell_has_no_slopes() -> None:
    one = torch.ones(1, 2, 1, 1)
    loss = depth_loss(one, 3 * one, one, slopes=1.0)
    assert loss.tolist() == [2.0]


def weighted_by_cells(depths: Tensor, taught: Tensor, weights: Tensor, slopes: float) -> Tensor:
    """Slow reference for one scene [F, P, P] whose unit nobody knows."""
    frames, side, _ = depths.shape
    cells = [(f, r, c) for f in range(frames) for r in range(side) for c in range(side)]

    def mean(values: list[Tensor], shares: list[Tensor]) -> Tensor:
        return sum((v * w for v, w in zip(values, shares, strict=True)), torch.zeros(())) / sum(
            shares, torch.zeros(())
        )

    def unit(values: Tensor) -> Tensor:
        return mean([values[cell] for cell in cells], [weights[cell] for cell in cells])

    own, true = depths / unit(depths), taught / unit(taught)
    loss = mean([(own[cell] - true[cell]).abs() for cell in cells], [weights[c] for c in cells])
    for down, right in ((1, 0), (0, 1)):
        errors, shares = [], []
        for f, r, c in cells:
            other = (f, r + down, c + right)
            if other in cells:
                errors.append(((own[other] - own[f, r, c]) - (true[other] - true[f, r, c])).abs())
                shares.append(min(weights[f, r, c], weights[other]))
        loss = loss + slopes * mean(errors, shares)
    return loss


@pytest.mark.parametrize("slopes", [0.0, 0.7])
@pytest.mark.parametrize("confident", [False, True])
def test_a_teachers_depth_is_compared_in_proportion(slopes: float, confident: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    depths = (torch.rand(3, 2, 4, 4, generator=generator) + 0.2).requires_grad_()
    taught = torch.rand(3, 2, 4, 4, generator=generator) + 0.5
    weights = torch.rand(3, 2, 4, 4, generator=generator) * 0.01  # whose sum is below 1
    weights = weights if confident else torch.ones_like(weights)
    fast = proportion_loss(depths, taught, weights, slopes=slopes)
    scenes = zip(depths, taught, weights, strict=True)
    slow = torch.stack([weighted_by_cells(*scene, slopes) for scene in scenes])
    torch.testing.assert_close(fast, slow)
    found = torch.autograd.grad(fast.sum(), depths)[0]
    torch.testing.assert_close(found, torch.autograd.grad(slow.sum(), depths)[0])


def test_no_factor_per_scene_makes_a_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    depths, taught = (torch.rand(2, 3, 4, 4, generator=generator) + 0.1 for _ in range(2))
    weights, factors = torch.ones_like(depths), torch.tensor([3.0, 0.2])[:, None, None, None]
    plain = proportion_loss(depths, taught, weights, slopes=1.0)
    torch.testing.assert_close(
        proportion_loss(depths * factors, taught, weights, slopes=1.0), plain
    )
    torch.testing.assert_close(
        proportion_loss(depths, taught * factors, weights, slopes=1.0), plain
    )
    assert proportion_loss(taught * factors, taught, weights, slopes=1.0).tolist() == pytest.approx(
        [0, 0], abs=1e-6
    )


@pytest.mark.parametrize("source", ["sensor", "teacher"])
@pytest.mark.parametrize("wanted", [{"confidence": True}, {"control": "other_scene"}])
def test_a_sensor_has_neither_confidence_nor_control(source: str, wanted: dict[str, Any]) -> None:
    if source == "teacher":
        found = DepthConfig.model_validate({"source": source, **wanted})
        assert {name: getattr(found, name) for name in wanted} == wanted
        assert found.identity().items() >= {"source": source, **wanted}.items()
        return
    with pytest.raises(ValidationError, match=r"the sensor's depth has no .*; set source: teacher"):
        DepthConfig.model_validate({"source": source, **wanted})


@pytest.mark.parametrize("confident", [False, True])
def test_confidence_weights_cells_where_it_is_asked_for(confident: bool, tmp_path: Path) -> None:
    scene, student = random_scene("a", 0, num_frames=3), random_student()
    write_prepared(scene, tmp_path / "prepared")
    write_random_features(scene, tmp_path / "features", 2, 0)
    write_random_depth(scene, tmp_path / "depth", 0)
    scenes = PreparedScenes(tmp_path / "prepared")
    teacher = TeacherFeatures(tmp_path / "features", scenes, ["a"], depth=tmp_path / "depth")
    settings = DepthConfig(weight=1.0, source="teacher", confidence=confident)
    objective: Objective = settings.build(student, teacher)
    batch = collate([scene], [[]], [object_candidates(scene)], student.tokenizer)
    output = student(batch.frames, batch.layout, batch.ids, batch.regions, (-1,))
    target = objective.collate([objective.target(scene)])
    loss, _ = objective(StudentPass(student, batch, output, target), 1)
    head = cast(TokenHead, objective.head)
    told = softplus(head(output.hidden[-1])[..., 0])[0]
    taught, weights = target[0].unbind(-1)
    weights = weights if confident else torch.ones_like(weights)
    torch.testing.assert_close(loss, weighted_by_cells(told, taught, weights, settings.slopes))


def test_features_are_no_depth(tmp_path: Path) -> None:
    scene, student = random_scene("a", 0), random_student()
    write_prepared(scene, tmp_path / "prepared")
    write_random_features(scene, tmp_path / "features", 2, 0)
    scenes, folder = PreparedScenes(tmp_path / "prepared"), tmp_path / "features"
    teacher = TeacherFeatures(folder, scenes, ["a"], depth=folder)
    with pytest.raises(DataError, match=r"features of teacher fake .*, no depth"):
        DepthConfig(weight=1.0, source="teacher").build(student, teacher)


def test_rays_are_apart_by_the_length_of_their_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    rays = torch.randn(2, 2, 3, 3, 6, generator=generator).requires_grad_()
    known = torch.randn(2, 2, 3, 3, 6, generator=generator)
    slow = torch.stack(
        [
            torch.stack(
                [(a - b).square().sum().sqrt() for a, b in zip(x, y, strict=True)]
            ).mean()
            for x, y in zip(rays.view(2, -1, 6), known.view(2, -1, 6), strict=True)
        ]
    )  # fmt: skip
    fast = ray_loss(rays, known)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(
        torch.autograd.grad(fast.sum(), rays)[0], torch.autograd.grad(slow.sum(), rays)[0]
    )


@pytest.mark.parametrize("order", [None, [[2, 0, 1]]])
def test_the_frame_that_is_read_first_is_the_world(order: list[list[int]] | None) -> None:
    scene, student = random_scene("a", 0, num_frames=3), random_student()
    objective: Objective = RayConfig(weight=1.0).build(student)
    batch = collate([scene], [[]], [object_candidates(scene)], student.tokenizer)
    frames = replace(batch.frames, order=None if order is None else torch.tensor(order))
    batch = replace(batch, frames=frames)
    output = student(batch.frames, batch.layout, batch.ids, batch.regions, (-1,))
    known = scene_geometry(scene).ray_maps(0 if order is None else order[0][0])

    class Knowing(TokenHead):
        def forward(self, states: Tensor) -> Tensor:
            return known[None]

    objective.head = Knowing(4, 4, 6)
    target = objective.collate([objective.target(scene)])
    loss, _ = objective(StudentPass(student, batch, output, target), 1)
    assert loss.item() == pytest.approx(0, abs=1e-6)
