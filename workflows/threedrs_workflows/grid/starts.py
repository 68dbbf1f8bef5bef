"""Weights and records that a grid starts from: weights by their headers, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.students.registry import kinds_that_read
from threedrs_components.students.start import check_start
from threedrs_components.teachers.checkpoint_files import refuse_no_checkpoint
from threedrs_components.teachers.frame_shapes import SQUARE, told
from threedrs_components.teachers.registry import TeacherConfig
from threedrs_components.teachers.teacher import check_grid
from threedrs_components.teachers.weight_headers import stored_tensors
from threedrs_platform.errors import ArtifactError, CheckpointError, ConfigError, DataError, Fault
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.rendered_only import lack_of_weights


def refuse_wrong_starts(experiments: Iterable[Experiment]) -> None:
    """Check every checkpoint that is here; what is not here is somebody else's to miss.

    Raises:
        ConfigError: lists every student and teacher whose weights are others than their settings
            say, or that have none where scenes are given, and every teacher that is coarser than
            the tokens that are to learn from it.
    """
    experiments = list(experiments)
    students = {
        (
            each.student,
            _needs_head(each),
            each.scenes.kind,
            each.student_config().model_dump_json(),
        ): each
        for each in experiments
    }
    faults = {
        fault
        for (_, needs_head, *_), each in students.items()
        if (fault := _fault(each, needs_head)) is not None
    }
    teachers = {
        (
            each.teacher,
            each.prepare.grid,
            each.scenes.model_dump_json(),
            each.reads_teacher_depth(),
            teacher.model_dump_json(),
        ): each
        for each in experiments
        if (teacher := each.teacher_config()) is not None
    }
    faults |= {fault for each in teachers.values() for fault in _teacher_faults(each)}
    if faults:
        raise ConfigError(sorted(faults, key=str))


def refuse_wrong_records(experiments: Iterable[Experiment]) -> None:
    """Check records of one's own, whole: it takes time in proportion to their files.

    Raises:
        ConfigError: lists those that cannot be learned, and files and folders that are not there.
    """
    sources = {
        (each.scenes.model_dump_json(), each.prepare.on_bad_scene): each for each in experiments
    }
    faults = {fault for each in sources.values() for fault in _record_faults(each)}
    if faults:
        raise ConfigError(sorted(faults, key=str))


def _needs_head(experiment: Experiment) -> bool:
    """Whether a student chooses among boxes that nothing has taught it here."""
    asked = [BENCHMARKS[name] for name in experiment.benchmarks.names]
    return not experiment.trains() and any("text" not in benchmark.takes for benchmark in asked)


def _fault(experiment: Experiment, needs_head: bool) -> Fault | None:
    student = experiment.student_config()
    if student.checkpoint is None:
        return lack_of_weights(experiment)
    if not Path(student.checkpoint).exists():
        return None
    folder = Path(student.checkpoint)
    try:
        check_start(student, folder, needs_head)
    except CheckpointError as error:
        return Fault(f"{error}{_other_kind(experiment, folder)}", _key(experiment, "checkpoint"))
    return None


def _teacher_faults(experiment: Experiment) -> list[Fault]:
    teacher, place = experiment.teacher_config(), f"teachers.{experiment.teacher}"
    if teacher is None:
        return []
    try:
        if teacher.checkpoint is not None and teacher.weights is not None:
            refuse_no_checkpoint(teacher.checkpoint, teacher.weights, teacher.weight_files)
        teacher.refuse_weights()
        frame = experiment.scenes.frame_shape() or SQUARE
        own = teacher.own_grid(frame)
    except (CheckpointError, DataError, ArtifactError) as error:
        return [Fault(str(error), f"{place}.checkpoint")]
    except ConfigError as error:
        return [
            Fault(each.message, f"{place}{each.path.removeprefix('teacher')}")
            for each in error.faults
        ]
    if (lack := _lack_of_depth(experiment, teacher)) is not None:
        return [Fault(lack, f"{place}.checkpoint")]
    try:
        if own is not None:
            check_grid(experiment.prepare.grid, own)
    except ConfigError as error:
        seen = f"; counted for frames of {told(frame)}"
        return [Fault(f"{each.message}{seen}", "prepare.grid") for each in error.faults]
    lack_of_its_own = lack_of_weights(experiment)
    return [] if lack_of_its_own is None else [lack_of_its_own]


def _lack_of_depth(experiment: Experiment, teacher: TeacherConfig) -> str | None:
    """What a loss of a teacher's depth finds no weights for, where these are here."""
    if teacher.checkpoint is None or not experiment.reads_teacher_depth():
        return None
    tensors = stored_tensors(teacher.checkpoint)
    if tensors is None:
        return None
    lacking = [
        part for part in teacher.depth_parts if not any(name.startswith(part) for name in tensors)
    ]
    if not lacking:
        return None
    return (
        f"{teacher.checkpoint}: has no {', '.join(f'{part}*' for part in lacking)}, so this "
        f"teacher gives no depth, which depth.source: teacher compares with; take "
        f"{teacher.weights}, whole, or set depth.source: sensor"
    )


def _record_faults(experiment: Experiment) -> list[Fault]:
    absent_too = experiment.prepare.on_bad_scene == "refuse"
    found = experiment.scenes.record_faults(absent_too=absent_too)
    return [Fault(told, setting) for setting, told in found]


def _other_kind(experiment: Experiment, folder: Path) -> str:
    """The cure, where the weights are those of another kind."""
    kinds = kinds_that_read(folder)
    if not kinds or experiment.student_config().kind in kinds:
        return ""
    return f"; for these weights set {_key(experiment, 'kind')}: {' or '.join(kinds)}"


def _key(experiment: Experiment, name: str) -> str:
    return f"students.{experiment.student}.{name}"
