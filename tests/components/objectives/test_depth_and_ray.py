"""Depth and ray losses against loops over cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from threedrs_components.objectives.depth_loss import depth_loss
from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.ray import RayConfig
from threedrs_components.objectives.ray_loss import ray_loss
from threedrs_components.objectives.token_head import TokenHead
from threedrs_components.scenes.prepared import scene_geometry
from threedrs_components.students.batches import collate, object_candidates
from threedrs_components.testing.synthetic import random_scene, random_student

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
    fast = depth_loss(depths, measured, slopes=slopes)
    slow = torch.stack(
        [by_cells(own, true, slopes) for own, true in zip(depths, measured, strict=True)]
    )
    torch.testing.assert_close(fast, slow)
    assert fast[2] == 0, "nothing is known of the third scene"
    torch.testing.assert_close(
        torch.autograd.grad(fast.sum(), depths)[0], torch.autograd.grad(slow.sum(), depths)[0]
    )


def test_one_cell_has_no_slopes() -> None:
    loss = depth_loss(torch.ones(1, 2, 1, 1), torch.full((1, 2, 1, 1), 3.0), slopes=1.0)
    assert loss.tolist() == [2.0]


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
