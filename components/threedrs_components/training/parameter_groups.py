"""Which parameters learn at which rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from threedrs_components.students.student import Student
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.objective import TrainingModule


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a peak learning rate."""

    name: str
    learning_rate: float
    parameters: tuple[nn.Parameter, ...]


def parameter_groups(module: TrainingModule, training: TrainingConfig) -> list[ParameterGroup]:
    """Vision tower, projector, heads and language model with their peak rates; rate 0 freezes."""
    own = training.learning_rate
    rates = {
        "vision": own * training.vision_learning_rate_factor,
        "projector": _or(training.projector_learning_rate, own),
        "heads": _or(training.head_learning_rate, own),
        "language": own,
    }
    members: dict[str, list[torch.nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in module.named_parameters():
        group = _group_of(module.student, name)
        parameter.requires_grad_(parameter.requires_grad and rates[group] > 0)
        if parameter.requires_grad:
            members[group].append(parameter)
    return [
        ParameterGroup(name, rates[name], tuple(parameters))
        for name, parameters in members.items()
        if parameters
    ]


def trained_parameters(module: TrainingModule) -> dict[str, int]:
    """How many weights learn, by part: of the student, its heads and those of each objective.

    Called before a strategy takes the module: one that shards weights leaves none of them whole.
    """
    counts: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = _group_of(module.student, name)
            if part == "heads":
                # student.grounding.*, student.fusion.*, heads.<objective>.*
                part = name.split(".")[1]
            counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _group_of(student: Student, name: str) -> str:
    inner = name.removeprefix("student.")
    return "heads" if inner == name else student.part_of(inner)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
