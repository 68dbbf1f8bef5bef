"""Settings of a cell that nothing reads as the others are set, and why.

Of what is named here nothing is certain but that: a setting that is not named may be idle, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from threedrs_workflows.experiment import NO_TEACHER, Experiment

NAMED_BY_ALIGNMENT = ("alignment.frames", "alignment.teacher_area")
"""How the teacher's maps are made, whoever reads them."""
OF_GEOMETRY = ("checks", "invalid_depth", "arithmetic", "evaluation_arithmetic", "voxel_m")
"""What preparation does with depth and cameras."""


@dataclass(frozen=True)
class Unread:
    """Settings that nothing reads."""

    below: str
    """A setting, or a section with all that stands in it."""
    why: str
    """The setting that makes them idle, as a clause."""
    but: tuple[str, ...] = ()
    """Settings of the section that are read all the same."""

    def covers(self, path: str) -> bool:
        """Whether a setting is among them."""
        return _is_within(path, self.below) and not any(_is_within(path, e) for e in self.but)


def unread_settings(experiment: Experiment) -> tuple[Unread, ...]:
    """All that is known to be idle in a cell."""
    return tuple(each for rule in RULES for each in rule(experiment))


def _of_training(experiment: Experiment) -> Iterator[Unread]:
    training, frozen = experiment.training, experiment.student_config().frozen
    if not experiment.trains():
        yield Unread("training", "training.steps is 0", but=("training.steps",))
        return
    if training.warmup_ratio == 0:
        yield Unread("training.warmup_from", "training.warmup_ratio is 0")
    setting = f"students.{experiment.student}.frozen"
    if "vision" in frozen:
        yield Unread("training.vision_learning_rate_factor", f"{setting} names vision")
    if "projector" in frozen:
        yield Unread("training.projector_learning_rate", f"{setting} names projector")


def _of_losses(experiment: Experiment) -> Iterator[Unread]:
    named = NAMED_BY_ALIGNMENT if experiment.has_teacher() else ()
    for each in experiment.objectives():
        if not experiment.trains():
            yield Unread(each.name, "training.steps is 0")
        elif not each.is_on:
            but = (f"{each.name}.weight", *named)
            yield Unread(each.name, f"{each.name}.weight is 0", but)
        elif each.reads_teacher and experiment.teacher == NO_TEACHER:
            yield Unread(each.name, f"teacher is {NO_TEACHER}", named)


def _of_alignment(experiment: Experiment) -> Iterator[Unread]:
    layers = experiment.alignment.layers
    if len(layers) == 1:
        yield Unread("alignment.layer_losses", "alignment.layers names one layer")
    normalised = (-1, experiment.student_config().layers)
    if not any(isinstance(each, int) and each not in normalised for each in layers):
        yield Unread("alignment.inner_states", "alignment.layers names no inner layer")


def _of_reconstruction(experiment: Experiment) -> Iterator[Unread]:
    chosen = experiment.reconstruction
    if chosen.every == 0:
        for name in ("ratio", "condition"):
            yield Unread(f"reconstruction.{name}", "reconstruction.every is 0")
    steps = experiment.training.steps
    if 0 < steps <= chosen.every:
        why = f"training.steps is {steps}, so that frames are hidden in the first step alone"
        yield Unread("reconstruction.every", why)
    if chosen.decoder == "regression":
        why = "reconstruction.decoder is regression"
        for name in ("blocks", "draws"):
            yield Unread(f"reconstruction.{name}", why)
        if chosen.condition == "own" and chosen.birds_eye is None:
            yield Unread("reconstruction.heads", f"{why}, and condition own")


def _of_fusion(experiment: Experiment) -> Iterator[Unread]:
    mode = experiment.fusion.mode
    if not experiment.trains():
        yield Unread("fusion", "training.steps is 0")
    elif mode == "none":
        yield Unread("fusion", "fusion.mode is none", but=("fusion.mode",))
    else:
        yield Unread("fusion.heads" if mode == "add" else "fusion.width", f"fusion.mode is {mode}")


def _of_teachers(experiment: Experiment) -> Iterator[Unread]:
    chosen = experiment.teacher
    if not experiment.has_teacher():
        why = f"teacher is {chosen}"
        if chosen != NO_TEACHER:
            why = "no loss that is on compares with a teacher, and fusion.mode is none"
            if not experiment.trains():
                why = "training.steps is 0"
            yield Unread("teacher", why)
        yield Unread("teachers", why)
        yield Unread("teacher_pretraining", why)
        return
    for table in ("teachers", "teacher_pretraining"):
        others = (name for name in getattr(experiment, table) if name != chosen)
        yield from (Unread(f"{table}.{name}", f"teacher is {chosen}") for name in others)
    if experiment.pretraining_of_teacher() is None:
        yield Unread(f"teacher_pretraining.{chosen}", f"teachers.{chosen} needs no training")
    if not experiment.reads_teacher_features():
        yield Unread(f"teachers.{chosen}.layer", "nothing reads the teacher's features")


def _of_students(experiment: Experiment) -> Iterator[Unread]:
    chosen, config = experiment.student, experiment.student_config()
    for name in experiment.students:
        if name != chosen:
            yield Unread(f"students.{name}", f"student is {chosen}")
    if config.checkpoint is not None:
        yield Unread("student_pretraining", f"students.{chosen}.checkpoint has its weights")
    if config.size != "micro":
        yield Unread(f"students.{chosen}.micro", f"students.{chosen}.size is {config.size}")


def _of_scenes(experiment: Experiment) -> Iterator[Unread]:
    scenes, prepare = experiment.scenes, experiment.prepare
    if not any(each.picture_side for each in experiment.active_objectives()):
        why = "no loss tells rooms from above (reconstruction.weight and birds_eye)"
        yield Unread("prepare.birds_eye", why)
    if not scenes.has_geometry:
        why = f"scenes of kind {scenes.kind} have no depth and no cameras"
        yield from (Unread(f"prepare.{name}", why) for name in OF_GEOMETRY)
    elif prepare.checks.mode == "skip":
        yield Unread("prepare.checks", "prepare.checks.mode is skip", ("prepare.checks.mode",))
    if scenes.kind == "micro" and experiment.pretraining_of_teacher() is None:
        yield Unread("scenes.teacher_scenes", "no teacher is trained on them")


def _of_probes(experiment: Experiment) -> Iterator[Unread]:
    reads, blind = {*experiment.probe.reads}, experiment.student_config().blind
    of_teacher = experiment.reads_teacher_features() and not experiment.held_out
    if not experiment.scenes.has_geometry:
        kind = experiment.scenes.kind
        yield Unread("probe", f"scenes of kind {kind} have no depth and no cameras")
    elif blind and not of_teacher:
        yield Unread("probe", f"students.{experiment.student}.blind is true")
    for name, readers in PROBE_READERS.items():
        if not reads & readers:
            listed = " nor ".join(sorted(readers))
            yield Unread(f"probe.{name}", f"probe.reads does not name {listed}")


PROBE_READERS = {
    "level": {"correspondence"},
    "voxel_m": {"correspondence"},
    "position_axes": {"position"},
    "cells": {"depth", "normals"},
}
"""What is read of states by what setting of it."""


def _of_benchmarks(experiment: Experiment) -> Iterator[Unread]:
    benchmarks = experiment.benchmarks
    for table in ("splits", "protocols"):
        for name in getattr(benchmarks, table).keys() - {*benchmarks.names}:
            yield Unread(f"benchmarks.{table}.{name}", f"benchmarks.names does not name {name}")
    for name in benchmarks.idle_prompts():
        yield Unread(f"benchmarks.prompts.{name}", "its benchmark is neither learned nor asked")


Rule = Callable[[Experiment], Iterator[Unread]]
RULES: tuple[Rule, ...] = (
    _of_training,
    _of_losses,
    _of_alignment,
    _of_reconstruction,
    _of_fusion,
    _of_teachers,
    _of_students,
    _of_scenes,
    _of_probes,
    _of_benchmarks,
)
"""In this order: of several reasons for a setting the first one is told."""


def _is_within(path: str, section: str) -> bool:
    return path == section or path.startswith(f"{section}.")
