"""What scenes, students and benchmarks of an experiment must agree on before anything starts."""

from __future__ import annotations

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.registry import BENCHMARKS, QUESTION_SETS
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.registry import SCENES, AnyScenes
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.registry import StudentConfig
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.sizes import student_size
from threedrs_platform.config.suggestions import did_you_mean, nearest_and_all

USUAL_SPLITS = ("train", "val", "test")
"""Of published annotations."""


def check_splits(benchmarks: BenchmarksConfig, scenes: AnyScenes) -> None:
    """Training reads one split, the position probe is fitted on one, and one is evaluated."""
    if scenes.split_names is None:
        return
    for name, split in benchmarks.splits.items():
        named = {*USUAL_SPLITS, *scenes.split_names, *BENCHMARKS[name].splits}
        # Its annotations may name scenes outside the lists: see benchmarks.missing_scenes.
        if split not in named:
            raise ValueError(f"splits.{name}: no split {split!r}{did_you_mean(split, named)}")
    for split in (scenes.annotated_split, scenes.probe_split, benchmarks.split):
        if split not in scenes.split_names:
            lists = f"{len(scenes.split_names)} splits" if scenes.split_names else "no split"
            near = nearest_and_all(split, scenes.split_names)
            raise ValueError(f"split {split!r}: the scenes have {lists}, not this one{near}")


def check_fusion(fusion: FusionSettings, frames: str, *, taught: bool) -> None:
    """Features of a teacher, and of what the student sees."""
    if fusion.is_on and not taught:
        raise ValueError(
            f"mode {fusion.mode!r} adds a teacher's features, and there is no teacher: name one "
            "(teacher), or set mode: none"
        )
    if fusion.is_on and frames != "student":
        raise ValueError(
            "fusion adds features to the tokens of the same cells, so the teacher must see the "
            "student's frames; set alignment.frames: student"
        )


def check_heads(heads: int, width: int | None, student: StudentSettings | None) -> None:
    """Attention divides what it reads among its heads: the given width, or the student's."""
    size = student_size(student) if student is not None and width is None else None
    whole = width if size is None else size.text.width
    if whole is not None and whole % heads:
        fitting = ", ".join(str(each) for each in (1, 2, 4, 8, 16, 32) if whole % each == 0)
        raise ValueError(f"{heads} heads do not divide the width {whole}; take one of {fitting}")


def check_candidates(benchmarks: BenchmarksConfig, scenes: AnyScenes) -> None:
    """Nothing falls back on true boxes; a micro world always comes with proposals."""
    choosing = [name for name in benchmarks.names if BENCHMARKS[name]().about_boxes]
    if benchmarks.candidates == "proposals" and choosing and not scenes.has_proposals:
        raise ValueError(
            f"{', '.join(choosing)} choose among proposals, and the scenes have none: give "
            "scenes.proposals (kind scannet), or set benchmarks.candidates: ground_truth, an "
            "oracle that compares with no published number"
        )


def check_annotations(benchmarks: BenchmarksConfig, scenes: AnyScenes) -> None:
    """Without a folder of annotations there are only those that come with the scenes."""
    asked = dict.fromkeys((*benchmarks.names, *benchmarks.trained()))
    missing = [name for name in asked if name not in scenes.annotated]
    drawn = [name for name in missing if name in QUESTION_SETS]
    if drawn:
        kind = next(kind for kind in SCENES if drawn[0] in SCENES[kind].question_sets)
        sources = "; ".join(SCENES[kind].question_sets[name] for name in drawn)
        raise ValueError(
            f"{', '.join(drawn)}: the questions come with scenes of kind {kind}, and scenes."
            f"{drawn[0]} is not set; it needs {sources}"
        )
    if missing and benchmarks.annotations is None:
        others = f", only of {', '.join(scenes.annotated)}" if scenes.annotated else ""
        raise ValueError(
            f"scenes of kind {scenes.kind} have no annotations of {', '.join(missing)}{others}; "
            "set benchmarks.annotations to a folder that has them"
        )


def check_colour_alone(name: str, student: StudentConfig, scenes: AnyScenes) -> None:
    """Without depth and cameras no token has a place in the room."""
    if student.position_encoding:
        raise ValueError(
            f"scenes of kind {scenes.kind} have no depth and no cameras, so there is no position "
            f"to encode: set students.{name}.position_encoding: false, and coord_input: region"
        )


def check_grid(student: StudentConfig, prepare: PrepareConfig) -> None:
    """Scenes must be prepared for the student, unless its own checkpoint decides its sizes."""
    if student.size == "micro" and student.checkpoint is not None:
        return
    size, grid, patches = student.image_size, student.grid, student.patch_grid
    if (prepare.image_size, prepare.grid) != (size, grid):
        raise ValueError(
            f"the student reads {size} pixels as {grid} x {grid} tokens, but prepare makes "
            f"{prepare.image_size} pixels and {prepare.grid} x {prepare.grid}; "
            "set prepare.image_size and prepare.grid to match"
        )
    if prepare.seen != student.covered:
        wanted = "null" if student.covered == size else student.covered
        raise ValueError(
            f"the student's patches cover {student.covered} of {size} pixels, but prepare cuts "
            f"{prepare.seen} of them into token cells; set prepare.covered: {wanted}"
        )
    if patches is not None and prepare.patch_grid != patches:
        raise ValueError(
            f"released object features read weights of {patches} x {patches} patches per frame; "
            f"set prepare.patch_grid: {patches}, or the student's object_membership: share"
        )


def check_sampling(prepare: PrepareConfig, scenes: AnyScenes) -> None:
    """Frames can only be chosen by what they see where depth says it, out of more than are kept."""
    if not scenes.has_geometry:
        raise ValueError(
            f"sampling 'coverage' counts the voxels that depth finds, and scenes of kind "
            f"{scenes.kind} have no depth; set prepare.sampling: uniform"
        )
    if scenes.most_frames == prepare.num_frames:
        raise ValueError(
            f"sampling 'coverage' has nothing to choose from: num_frames {prepare.num_frames} "
            "keeps all frames that scenes come with; set scenes.num_frames to more than that"
        )


def check_all_images(scenes: AnyScenes, prepare: PrepareConfig) -> None:
    """Images beside the frame list have no depth."""
    if not scenes.has_all_images:
        raise ValueError(
            "frames 'all_images' needs scenes of kind scannet: "
            "no other source has images beside its frame list"
        )
    if prepare.sampling == "coverage":
        raise ValueError(
            "frames 'all_images' have no depth, so they cannot be chosen by prepare.sampling "
            "'coverage'; set alignment.frames: student"
        )
