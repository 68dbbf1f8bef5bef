"""Tied weights, such as a word table that is also the output table: stored once, tied again."""

from __future__ import annotations

from torch import nn


def tied_names(module: nn.Module) -> dict[str, str]:
    """Every further name of a parameter, with the one that it is stored under."""
    first: dict[int, str] = {}
    further = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(parameter), name)
        if known != name:
            further[name] = known
    return further


def tie(module: nn.Module, names: dict[str, str]) -> None:
    """Make one parameter again of each pair of `tied_names`."""
    for further, stored in names.items():
        path, _, leaf = further.rpartition(".")
        setattr(module.get_submodule(path), leaf, module.get_parameter(stored))
