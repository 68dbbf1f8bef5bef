"""Correspondence score and loss against taking every pair: time, memory, and equal results.

Run `python tests/bench/correspondence.py [--json] [--width 3584]`. Every way runs in a process of
its own on one thread; memory is the growth of its resident set above its inputs. Nothing here is
asserted on time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from threedrs_components.objectives.correspondence_loss import correspondence_loss
from threedrs_components.probing.correspondence import correspondence_score
from threedrs_components.scenes.geometry import cell_means
from threedrs_components.scenes.pairs import PairMatrix, token_pair_matrix
from threedrs_components.scenes.prepare_config import Level
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys

GRID = 14
GIB = 1 << 20
"""/proc counts in KiB."""


@dataclass(frozen=True)
class World:
    """Size of one synthetic scene."""

    name: str
    level: Level
    frames: int
    side: int
    """Pixels along each side of a frame"""
    width: int
    plain_fits: bool


@dataclass(frozen=True)
class Cost:
    """What one call took."""

    cpu_s: float
    memory_gib: float


def worlds(width: int) -> list[World]:
    """The released size at both levels, and pixels few enough to take every pair."""
    return [
        World("token 32 x 196", "token", 32, 384, width, plain_fits=True),
        World("pixel 4 x 56 x 56", "pixel", 4, 56, min(width, 512), plain_fits=True),
        World("pixel 32 x 384 x 384", "pixel", 32, 384, width, plain_fits=False),
    ]


def room_points(frames: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What cameras at random places of a 5 x 4 x 2.6 m room see; 5 % of the depth is missing."""
    random = np.random.default_rng(seed)
    low, high = np.array([-2.5, -2.0, 0.0]), np.array([2.5, 2.0, 2.6])
    u, v = np.meshgrid(*[(np.arange(side) + 0.5) / side * 2 - 1] * 2)
    points = np.empty((frames, side, side, 3), np.float32)
    for frame in range(frames):
        centre = np.array([*random.uniform(-1.2, 1.2, 2), random.uniform(1.2, 1.7)])
        yaw = random.uniform(0, 2 * np.pi)
        forward = np.array([np.cos(yaw), np.sin(yaw), -0.25])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        rays = forward + 0.8 * (u[..., None] * right + v[..., None] * down)
        with np.errstate(divide="ignore"):
            reach = np.where(rays > 0, (high - centre) / rays, (low - centre) / rays)
        points[frame] = centre + rays * reach.min(axis=-1, keepdims=True)
    valid = random.random((frames, side, side)) > 0.05
    return torch.from_numpy(points), torch.from_numpy(valid)


def random_features(world: World) -> Tensor:
    """Anisotropic features, as hidden states are."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(world.frames * GRID**2, world.width, generator=generator).add_(0.5)


def plain_pairs(world: World, points: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Token of every point, and which pairs of points are positive and negative."""
    if world.level == "token":
        points, counts = cell_means(points, valid, GRID, GRID)
        valid = counts > 0
    edges = torch.arange(1, GRID + 1) * valid.shape[1] // GRID
    cell = torch.searchsorted(edges, torch.arange(valid.shape[1]), right=True)
    frame, row, column = valid.nonzero().unbind(dim=1)
    keys = voxel_keys(voxel_indices(points[valid]))
    same = keys[:, None] == keys[None]
    across = frame[:, None] != frame[None]
    return frame * GRID**2 + cell[row] * GRID + cell[column], same & across, ~same & across


def plain_means(
    features: Tensor, tokens: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cosine of positive and negative pairs, over a matrix of points x points."""
    unit = normalize(features, dim=1)[tokens]
    cosines = unit @ unit.T
    return (cosines * positive).sum() / positive.sum(), (cosines * negative).sum() / negative.sum()


def plain_score(features: Tensor, *pairs: Tensor) -> dict[str, float]:
    """Score and margin."""
    positive, negative = plain_means(features, *pairs)
    return {"score": float(positive), "margin": float(positive - negative)}


def plain_loss(features: Tensor, *pairs: Tensor) -> tuple[float, Tensor]:
    """The paper's loss and its gradient by autograd."""
    features.requires_grad_()
    positive, negative = plain_means(features, *pairs)
    loss = 1 - positive + negative
    return loss.item(), torch.autograd.grad(loss, features)[0]


def our_score(features: Tensor, pairs: PairMatrix) -> dict[str, float]:
    """Score and margin (and all else that a score comes with)."""
    result = correspondence_score(features, pairs)
    return {"score": result.score, "margin": result.margin}


def our_loss(features: Tensor, pairs: PairMatrix) -> tuple[float, Tensor]:
    """Loss and gradient."""
    features.requires_grad_()
    loss, _ = correspondence_loss(features, pairs)
    return loss.item(), torch.autograd.grad(loss, features)[0]


def enumerated_score(features: Tensor, pairs: PairMatrix) -> dict[str, float]:
    """Score alone, by gathering both ends of every held entry."""
    unit = normalize(features, dim=1)
    cosines = (unit[pairs.rows] * unit[pairs.columns]).sum(dim=1)
    weighted = (cosines * pairs.counts).sum(dtype=torch.float64)
    return {"score": float(weighted / pairs.positive_pairs)}


def measured(call: Callable[[], Any]) -> tuple[Any, Cost]:
    """Result and cost of one call; resets the kernel's high-water mark of this process."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _memory("VmRSS"), time.process_time()
    result = call()
    cpu_s = time.process_time() - start
    return result, Cost(round(cpu_s, 3), round((_memory("VmHWM") - before) / GIB, 3))


def _memory(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))


def run_way(world: World, way: str, out: Path) -> dict[str, Any]:
    """Inside the child process: one way on one world; leaves the gradient in `out`."""
    torch.set_num_threads(1)
    points, valid = room_points(world.frames, world.side)
    torch.randn(64, 64) @ torch.randn(64, 64)
    facts: dict[str, int] = {}
    if way == "plain":
        pairs, build = measured(lambda: plain_pairs(world, points, valid))
        features = random_features(world)
        score, score_cost = measured(lambda: plain_score(features, *pairs))
        (loss, gradient), loss_cost = measured(lambda: plain_loss(features, *pairs))
    else:
        matrix, build = measured(
            lambda: token_pair_matrix(points, valid, grid=GRID, level=world.level)
        )
        features = random_features(world)
        if way == "enumerated":
            score, score_cost = measured(lambda: enumerated_score(features, matrix))
            return {"score": score, "costs": {"score": asdict(score_cost)}}
        score, score_cost = measured(lambda: our_score(features, matrix))
        (loss, gradient), loss_cost = measured(lambda: our_loss(features, matrix))
        facts = {
            "positive_pairs": matrix.positive_pairs,
            "negative_pairs": matrix.negative_pairs,
            "entries": len(matrix.rows),
            "voxels": matrix.voxels,
        }
    np.save(out / f"{way}.npy", gradient.numpy())
    costs = {"build": asdict(build), "score": asdict(score_cost), "loss": asdict(loss_cost)}
    return {"score": score, "loss": loss, "costs": costs, **facts}


def compare(world: World, index: int, width: int) -> dict[str, Any]:
    """Run the ways of one world, each in its own process, and set them side by side."""
    ways = ["ours"] + ["plain"] * world.plain_fits + ["enumerated"] * (world.level == "token")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        results = {way: _child(index, way, width, out) for way in ways}
        report: dict[str, Any] = {"world": world.name, "width": world.width, "ways": results}
        if world.plain_fits:
            ours, plain = results["ours"], results["plain"]
            report["ratios"] = {
                f"{what}_{unit}": round(plain["costs"][what][unit] / ours["costs"][what][unit], 1)
                for what in ("score", "loss")
                for unit in ("cpu_s", "memory_gib")
                if ours["costs"][what][unit]
            }
            report["differences"] = {
                **{
                    name: abs(ours["score"][name] - plain["score"][name]) for name in plain["score"]
                },
                "loss": abs(ours["loss"] - plain["loss"]),
                "gradient": _gradient_difference(out),
            }
    return report


def _gradient_difference(out: Path) -> float:
    """Largest difference as a share of the largest gradient."""
    ours, plain = np.load(out / "ours.npy"), np.load(out / "plain.npy")
    return float(np.abs(ours - plain).max() / np.abs(plain).max())


def _child(index: int, way: str, width: int, out: Path) -> dict[str, Any]:
    flags = ["--world", str(index), "--way", way, "--out", str(out), "--width", str(width)]
    done = subprocess.run(
        [sys.executable, __file__, *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def as_text(report: dict[str, Any]) -> str:
    """One world for people."""
    ours = report["ways"]["ours"]
    lines = [
        f"{report['world']}, width {report['width']}: {ours['positive_pairs']:,} positive and "
        f"{ours['negative_pairs']:,} negative pairs in {ours['entries']:,} entries"
    ]
    for way, result in report["ways"].items():
        costs = "   ".join(
            f"{what} {cost['cpu_s']:.2f} CPU-s {cost['memory_gib']:.2f} GiB"
            for what, cost in result["costs"].items()
        )
        lines.append(f"  {way:11}{costs}")
    for title in ("ratios", "differences"):
        if title in report:
            values = "   ".join(f"{name} {value:.3g}" for name, value in report[title].items())
            lines.append(f"  {title:11}{values}")
    if "ratios" not in report:
        lines.append("  plain      does not fit: a matrix of all pixels x all pixels")
    return "\n".join(lines)


def main() -> None:
    """Parent: compare all worlds. Child (--way): print one result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--width", type=int, default=3584, help="feature width")
    parser.add_argument("--world", type=int, help="only this world, by number")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = worlds(args.width)
    if args.way:
        print(json.dumps(run_way(chosen[args.world], args.way, args.out)))
        return
    numbers = range(len(chosen)) if args.world is None else [args.world]
    reports = [compare(chosen[number], number, args.width) for number in numbers]
    print(json.dumps(reports, indent=2) if args.json else "\n".join(map(as_text, reports)))


if __name__ == "__main__":
    main()
