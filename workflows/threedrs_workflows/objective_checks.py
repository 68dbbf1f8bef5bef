"""What objectives ask of student, scenes and teacher: what cannot work is refused beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.registry import AnyScenes
from threedrs_components.students.places import Place, parts_before
from threedrs_components.students.registry import StudentConfig
from threedrs_components.training.config import TrainingConfig


def check_places(places: Collection[Place], layers: int) -> None:
    """Layers are those of the student's language model, counted from either end."""
    for place in places:
        if isinstance(place, int) and not -layers - 1 <= place <= layers:
            raise ValueError(
                f"layer {place}: the student has {layers} layers: 0 to {layers}, or -1 (the "
                f"last, normalised) to {-layers - 1}; tower and projector come before them"
            )


def check_objective(
    objective: ObjectiveSettings, student: StudentConfig | None, chosen: Mapping[str, Any]
) -> None:
    """What an objective reads is there, and something learns from it.

    Args:
        objective: on or off.
        student: to be trained, where that is known.
        chosen: what else has been chosen, by name.
    """
    if not objective.is_on:
        return
    scenes, alignment = chosen.get("scenes"), chosen.get("alignment")
    if objective.reads_geometry and scenes and not scenes.has_geometry:
        raise ValueError(
            f"scenes of kind {scenes.kind} have no depth and no cameras, so there is nothing for "
            f"{objective.name} to compare with; set weight: 0"
        )
    _check_picture(objective, scenes, chosen.get("prepare"))
    # One that reads a teacher is off where there is none, and a blind student has none.
    looks = objective.visual_layers and not objective.reads_teacher
    if student is not None and student.blind and looks:
        raise ValueError("a blind student has no visual tokens to compare; set weight: 0")
    if objective.reads_teacher_depth:
        _check_gives_depth(chosen)
    if objective.compares_frames and alignment is not None and alignment.frames != "student":
        raise ValueError(
            f"alignment.frames {alignment.frames!r}: the teacher sees other frames than the "
            "student, so their tokens cannot be compared; set alignment.frames: student"
        )
    if student is not None and _takes_part(objective, chosen):
        frozen = ", ".join(student.frozen)
        _check_reach(objective, student, student.frozen, f"students.*.frozen: [{frozen}]")


def _check_picture(
    objective: ObjectiveSettings, scenes: AnyScenes | None, prepare: PrepareConfig | None
) -> None:
    """The room from above is kept where scenes are prepared, and depth and cameras make it."""
    side = objective.picture_side
    if side and scenes is not None and not scenes.has_geometry:
        raise ValueError(
            f"scenes of kind {scenes.kind} have no depth and no cameras, so there is no bird's-eye "
            f"view of them; set {objective.name}.birds_eye: null"
        )
    kept = 0 if prepare is None else prepare.birds_eye or 0
    if prepare is not None and kept < side:
        found = f"keeps one of {kept}" if kept else "keeps none"
        raise ValueError(
            f"birds_eye tells a picture of {side} pixels a side, and prepare {found}; set "
            f"prepare.birds_eye: {side}"
        )


def _check_gives_depth(chosen: Mapping[str, Any]) -> None:
    teachers, name = chosen.get("teachers"), chosen.get("teacher")
    if teachers is None or name is None or (name in teachers and teachers[name].gives_depth):
        return
    what = "there is none"
    if name in teachers:
        what = f"teacher {name!r} is of kind {teachers[name].kind}, which gives no depth"
    able = [each for each, teacher in teachers.items() if teacher.gives_depth]
    cure = f"take {' or '.join(able)}" if able else "take a teacher of kind vggt, da3 or pi3"
    raise ValueError(
        f"source 'teacher' compares with the teacher's depth, and {what}; {cure}, or set "
        "source: sensor"
    )


def check_rates(
    training: TrainingConfig,
    objectives: Sequence[ObjectiveSettings],
    student: StudentConfig | None,
    chosen: Mapping[str, Any],
) -> None:
    """Something learns from what each objective reads, at a rate above 0."""
    if student is None or training.steps == 0:
        return
    rates = {
        "vision": training.vision_learning_rate_factor,
        "projector": training.projector_learning_rate,
    }
    still = (*student.frozen, *(part for part, rate in rates.items() if rate == 0))
    for objective in objectives:
        if _takes_part(objective, chosen):
            _check_reach(objective, student, still, "it is frozen, or its rate is 0")


def _takes_part(objective: ObjectiveSettings, chosen: Mapping[str, Any]) -> bool:
    taught = chosen.get("teacher", "none") != "none"
    return objective.is_on and (taught or not objective.reads_teacher)


def _check_reach(
    objective: ObjectiveSettings, student: StudentConfig, still: Collection[str], why: str
) -> None:
    """Something must learn from the states that a loss reads: a part that made them.

    Args:
        objective: that is on.
        student: to be trained.
        still: its parts that do not learn.
        why: they do not, in words.
    """
    for place in objective.visual_layers:
        before = parts_before(place, student.layers)
        if before is not None and before <= set(still):
            made = " and ".join(sorted(before, reverse=True))
            raise ValueError(
                f"{objective.name} reads {place!r}, which {made} made, and nothing there learns "
                f"({why}): let one of them learn, or read a layer behind them"
            )
