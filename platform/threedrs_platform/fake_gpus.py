"""Rehearsals without GPUs: everything is placed as on GPUs, and computed on the CPU."""

from __future__ import annotations

import os

from threedrs_platform.errors import ConfigError, Fault

FAKE_GPUS = "THREEDRS_FAKE_GPUS"
"""Environment variable: how many GPUs a local Ray pretends to have."""


def fake_gpus() -> int:
    """How many GPUs are pretended, 0 where none are. What they compute is keyed apart.

    Raises:
        ConfigError: the variable is no number.
    """
    told = os.environ.get(FAKE_GPUS) or "0"
    if not told.isdigit():
        raise ConfigError([Fault(f"{told!r} is no number of GPUs", FAKE_GPUS)])
    return int(told)
