"""Reading and writing teacher weights: strict, without running pickled code."""

from __future__ import annotations

import pickle
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from threedrs_components.teachers.weight_headers import listed, misfits, plain_names
from threedrs_platform.errors import CheckpointError

UNREADABLE = (
    SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError, KeyError, ValueError,
)  # fmt: skip
"""What torch and safetensors raise on files that are cut short or something else."""
WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys that a state dict may lie under."""


def find_weights(
    checkpoint: str | Path, names: Sequence[str] = ("model.safetensors", "model.pt")
) -> Path:
    """The weights file itself, or the one inside a folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(checkpoint)
    candidates = [path / name for name in names] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"{path}: no checkpoint here; expected a file, or a folder that holds {' or '.join(names)}"
    )


def read_tensors(path: Path, prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Tensors whose names start with one of the prefixes, memory-mapped.

    A pickled file may keep its state dict under one of `WRAPPERS`, beside its training's arguments;
    and all names may begin with `module.`, where a wrapper for several processes was saved.

    Raises:
        CheckpointError: the file is truncated or not a checkpoint.
    """
    wanted = tuple(prefixes)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                plain = plain_names(file.keys())
                return {
                    name: file.get_tensor(stored)
                    for name, stored in plain.items()
                    if name.startswith(wanted)
                }
        with torch.serialization.safe_globals([Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: not a readable checkpoint: {reason(error)}") from error
    while isinstance(loaded, dict) and (found := [k for k in WRAPPERS if k in loaded]):
        loaded = loaded[found[0]]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise CheckpointError(f"{path}: expected a plain state dict of tensors")
    plain = plain_names(loaded)
    return {name: loaded[stored] for name, stored in plain.items() if name.startswith(wanted)}


def reason(error: Exception) -> str:
    """Why torch cannot read a file, without its advice to run what the file holds."""
    if isinstance(error, pickle.UnpicklingError):
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        named = f" ({wanted[1]})" if wanted else ""
        return f"a pickle that holds more than tensors{named}, which is never run"
    if "mmap can only be used" in str(error):
        return "not what torch.save writes: cut short, a bare pickle, or of a torch before 1.6"
    return str(error)


def refuse_strangers(path: Path, prefixes: Sequence[str]) -> None:
    """Refuse a readable checkpoint with tensors of parts that its model does not have.

    Raises:
        CheckpointError: names them.
    """
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            names = list(plain_names(file.keys()))
    else:
        names = list(read_tensors(path, ("",)))
    strangers = [name for name in names if not name.startswith(tuple(prefixes))]
    if strangers:
        raise CheckpointError(
            f"{path}: does not fit the model; tensors {listed({'unknown': strangers})}"
        )


def write_tensors(path: Path, module: nn.Module) -> None:
    """Write a module's state dict as safetensors.

    Without metadata: its keys come out in random order, and equal weights must be equal bytes.
    """
    save_file(
        {name: value.detach().contiguous() for name, value in module.state_dict().items()}, path
    )


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path, prefix: str = ""
) -> None:
    """Give every tensor of the module its stored value, whose name there begins with `prefix`.

    In float32, whatever format it is stored in: bfloat16 is a matter of autocast.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape, or not of floating point.
    """
    expected = {f"{prefix}{name}": tuple(t.shape) for name, t in module.state_dict().items()}
    faults = {
        **misfits(tensors, expected),
        "not of floating point": [n for n, t in tensors.items() if not t.is_floating_point()],
    }
    if any(faults.values()):
        raise CheckpointError(f"{path}: does not fit the model; tensors {listed(faults)}")
    inner = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items()}
    module.load_state_dict(inner, strict=True, assign=True)
