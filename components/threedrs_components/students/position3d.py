"""Sine encodings of world coordinates, in float32 throughout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from threedrs_components.scenes.voxels import HIGHEST_M, LOWEST_M


@dataclass(frozen=True)
class SineEncoding:
    """How metres become angles.

    The defaults are the released ones: one voxel of 0.1 m turns the fastest channel by one radian,
    and amplitudes are one. A narrow model needs slower waves and a larger gain to find them.
    """

    voxel_m: float = 0.1
    radians_per_voxel: float = 1.0
    temperature: float = 10_000.0
    gain: float = 1.0

    def __call__(self, coordinates: Tensor, width: int) -> Tensor:
        """Encode [..., 3] metres as [..., width] float32.

        Each axis takes width // 3 channels, sine and cosine in turn; channels left over are zero.
        """
        angles = voxel_steps(coordinates, self.voxel_m) * self.radians_per_voxel
        channels = width // 3
        # Channels 2i and 2i + 1 are sine and cosine of one frequency.
        pair = torch.arange(channels, device=coordinates.device) // 2
        slowdown = self.temperature ** (2.0 * pair.to(torch.float32) / channels)
        phases = angles[..., None] / slowdown
        waves = torch.where(
            torch.arange(channels, device=coordinates.device) % 2 == 0, phases.sin(), phases.cos()
        )
        encoded = torch.nn.functional.pad(waves.flatten(-2), (0, width - 3 * channels))
        return encoded * self.gain


MICRO_SINE = SineEncoding(radians_per_voxel=0.44, temperature=100.0, gain=3.0)
"""Top frequency 4.4 rad/m; with the released scale a 128-wide model cannot read the encoding."""


def voxel_steps(coordinates: Tensor, voxel_m: float) -> Tensor:
    """Clamped coordinates as whole voxels from the lowest corner, [..., 3] float32."""
    coordinates = coordinates.to(torch.float32)
    lowest = coordinates.new_tensor(LOWEST_M)
    highest = coordinates.new_tensor(HIGHEST_M)
    return ((coordinates.clamp(lowest, highest) - lowest) / voxel_m).round()
