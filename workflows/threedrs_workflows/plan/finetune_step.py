"""The step that trains: what differs most between the cells of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from threedrs_platform.config.kinds import choose
from threedrs_platform.steps import Resources, StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.steps.params.finetune import FinetuneParams
from threedrs_workflows.written import Written


def finetune_step(
    experiment: Experiment, inputs: Mapping[str, StepSpec], written: Written
) -> StepSpec:
    """Training under seed 0."""
    student, training, scenes = (
        experiment.student_config(),
        experiment.training,
        experiment.scenes,
    )

    def without_losses() -> StepSpec:
        params = FinetuneParams(
            student=choose(student),
            training=training,
            text_split=scenes.annotated_split,
            seed=0,
            objectives=(),
            fusion=experiment.fusion if experiment.fuses() else None,
        )
        return params.step("finetune", {})

    plain = written.once("training", without_losses, student, training, scenes, experiment.fusion)
    losses = [
        written.once("loss", partial(choose, each, each.modules()), each)
        for each in experiment.active_objectives()
    ]
    named = {module for each in losses for module in (each.module, *each.more)}
    return replace(
        plain,
        params={
            **plain.params,
            "objectives": [written.once("told", each.identity, each) for each in losses],
        },
        settings={
            **plain.settings,
            "objectives": [written.once("rest", each.remainder, each) for each in losses],
        },
        modules=tuple(sorted({*plain.modules, *named})),
        inputs=inputs,
        resources=Resources(cpus=training.workers, workers=training.workers),
    )
