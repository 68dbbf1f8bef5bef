"""What objectives ask of student, scenes and teacher: what cannot work is refused beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any, get_args

from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.registry import AnyScenes
from threedrs_components.students.places import BeforeLayers, Place, parts_before
from threedrs_components.students.registry import StudentConfig
from threedrs_components.students.settings import Part
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
    _check_other_scene(objective, scenes, chosen)
    if student is not None and _takes_part(objective, chosen):
        frozen = ", ".join(student.frozen)
        _check_reach(objective, student, set(student.frozen), f"students.*.frozen: [{frozen}]")


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


def _check_other_scene(
    objective: ObjectiveSettings, scenes: AnyScenes | None, chosen: Mapping[str, Any]
) -> None:
    if not objective.needs_other_scene or not _takes_part(objective, chosen):
        return
    if scenes is not None and scenes.trained_scenes == 1:
        raise ValueError(
            "control 'other_scene' gives a scene the maps of another, and there is one scene to "
            f"train on (scenes.text: 1); take more, or set {objective.name}.control: none"
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
        "heads": training.head_learning_rate,
    }
    still = {*student.frozen, *(part for part, rate in rates.items() if rate == 0)}
    fusion = chosen.get("fusion")
    fused = fusion is not None and fusion.is_on
    for objective in objectives:
        if _takes_part(objective, chosen):
            why = "it is frozen, or its rate is 0"
            _check_reach(objective, student, still, why, fused=fused)
            _check_answers(objective, student, still, fused=fused)


def _takes_part(objective: ObjectiveSettings, chosen: Mapping[str, Any]) -> bool:
    taught = chosen.get("teacher", "none") != "none"
    return objective.is_on and (taught or not objective.reads_teacher)


def _check_reach(
    objective: ObjectiveSettings,
    student: StudentConfig,
    still: Set[str],
    why: str,
    *,
    fused: bool | None = None,
) -> None:
    """Something must learn from the states that a loss reads: a part that made them.

    A head of the loss's own is no such part: what it learns, no student is left with.

    Args:
        objective: that is on.
        student: to be trained.
        still: its parts that do not learn, "heads" for those that no setting freezes.
        why: they do not, in words.
        fused: whether fusion's weights are added before the layers; None where nobody knows yet.
    """
    for place in objective.visual_layers:
        before = parts_before(place, student.layers)
        if place not in get_args(BeforeLayers):
            if fused is None:
                continue
            before |= {"heads"} if fused else set()
        if before <= still:
            raise ValueError(
                f"{objective.name} reads {place!r}, which {_listed(before)} made, and nothing "
                f"there learns ({why}): let one of them learn, or "
                + ("read a layer behind them" if "language" not in before else _off(objective))
            )


def _check_answers(
    objective: ObjectiveSettings, student: StudentConfig, still: Set[str], *, fused: bool
) -> None:
    """As `_check_reach`, of a loss that reads no visual token but what is answered."""
    if objective.visual_layers:
        return
    before = {"language"} if student.blind else set(parts_before(-1, student.layers))
    if objective.has_student_head or fused:
        before.add("heads")
    if before <= still:
        raise ValueError(
            f"{objective.name} reads answers, which {_listed(before)} made, and nothing there "
            f"learns (it is frozen, or its rate is 0): let one of them learn, or {_off(objective)}"
        )


def _off(objective: ObjectiveSettings) -> str:
    return f"set {objective.name}.weight: 0"


def _listed(parts: Set[str]) -> str:
    """In the order of computation."""
    *first, last = [each for each in (*get_args(Part), "heads") if each in parts]
    return f"{', '.join(first)} and {last}" if first else last
