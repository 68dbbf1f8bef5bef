"""Where tensors live."""

from __future__ import annotations

import logging

import torch

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.fake_gpus import FAKE_GPUS, fake_gpus


def device_for(gpus: float) -> torch.device:
    """The current GPU for a step that was given one, else the CPU.

    A step never takes a GPU that nobody gave it: its key says on which kind of device it ran.

    Raises:
        ConfigError: a GPU was given, but torch finds none.
    """
    if not gpus:
        return torch.device("cpu")
    if fake_gpus():
        logging.getLogger(__name__).warning("%s is set: on the CPU in place of a GPU", FAKE_GPUS)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        fault = Fault("this step asks for a GPU, but torch finds none here", path="steps.*.gpus")
        raise ConfigError([fault])
    return torch.device("cuda")


def named_device(name: str) -> str:
    """A device by torch's name for it, if it is here.

    Raises:
        ConfigError: torch does not know it, or finds none.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise ConfigError([Fault(f"{name!r} is no device here: {reason}", "device")]) from error
    return name


def backend_for(gpus: float) -> str:
    """How processes with so many GPUs exchange tensors."""
    return "nccl" if gpus and not fake_gpus() else "gloo"
