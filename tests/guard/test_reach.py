"""Every module that a step uses is inside its key: nothing stale is ever served.

Each kind of step runs with each kind of student, teacher, scene source, benchmark and objective, in
a process that never loaded the project. Whatever it loads there must be among the modules whose
code its key hashes. A lazy import, or a detour through a registry, that the analysis of imports
cannot see fails here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.objectives.alignment.config import known_losses
from threedrs_components.objectives.registry import OBJECTIVES
from threedrs_components.scenes.registry import SCENES
from threedrs_components.students.registry import STUDENTS
from threedrs_components.teachers.precomputed.config import PrecomputedConfig
from threedrs_components.teachers.registry import TEACHERS
from threedrs_components.testing.scannet_files import write_scannet
from threedrs_components.testing.scene_sources import WORLD, tiny_scenes, write_world
from threedrs_components.testing.teacher_checkpoints import tiny_teacher
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows import steps
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.fresh_steps import FreshSteps

pytestmark = pytest.mark.whole

FRAME_NAMES = ["frame-000000", "frame-000001"]
FIXTURES = Path(__file__).parents[1] / "components/benchmarks/fixtures"
SMOKE = "version: 1\nname: guard\nbase: {preset: micro}\n"
SMALL = {
    "scenes": {"train": 6, "text": 2, "val": 2, "teacher_scenes": 4, "num_frames": 2},
    "prepare.num_frames": 2,
    "training.steps": 1,
    "probe.folds": 2,
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, fresh: FreshSteps) -> Path:
    """A small world, the same as ScanNet has it, annotations, and a student to start from."""
    root = tmp_path_factory.mktemp("data")
    started = fresh.run(cell_steps(experiment(MICRO), 1, FileDigests())["pretrain"])
    shutil.copytree(started, root / "student")
    write_world(root / "world")
    write_scannet(root / "world", root)
    shutil.copytree(root / "world", root / "annotated")
    for kind in BENCHMARKS:
        if kind not in WORLD.annotated:
            add_annotations(FIXTURES / kind, root / "annotated")
    return root


def add_annotations(fixture: Path, folder: Path) -> None:
    """The annotations of a benchmark's own fixture, as if they were about rendered scenes."""
    for path in sorted(fixture.rglob("*.json*")):
        if path.parent.name == "annotations":
            split = "train" if "train" in path.name else "val"
            text = (
                path.read_text()
                .replace('"s0"', f'"{split}00000"')
                .replace('"s1"', f'"{split}00001"')
            )
            (folder / "annotations" / path.name).write_text(text)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshSteps]:
    steps = FreshSteps(tmp_path_factory.mktemp("fresh"))
    yield steps
    steps.close()


def experiment(changes: Mapping[str, Any]) -> Experiment:
    tree = expand(load_document(SMOKE), smoke=True).base.model_dump(mode="json")
    return Experiment.model_validate(put_in(put_in(tree, (), SMALL), (), dict(changes)))


MICRO = {"student": "llava", "teacher": "none"}
DISTILLED = {"teacher": "vggt", "alignment.weight": 1.0, "correspondence.weight": 0.5}


def of_student(kind: str, _data: Path) -> dict[str, Any]:
    """Trained from its own micro start towards all objectives."""
    return {"students": {"llava": {"kind": kind, "size": "micro"}}, **DISTILLED}


def of_teacher(kind: str, data: Path) -> dict[str, Any]:
    """Distilled from stored weights, if it has any."""
    settings = (
        PrecomputedConfig(checkpoint=str(features_made_elsewhere(data)), sees="2d")
        if kind == "precomputed"
        else tiny_teacher(kind, data / "teachers" / kind)
    )
    return {"teachers": {"chosen": settings.canonical()}, **DISTILLED, "teacher": "chosen"}


def features_made_elsewhere(data: Path) -> Path:
    """Noise for every scene of the micro world that the cells render."""
    folder = data / "features"
    folder.mkdir(exist_ok=True)
    for split, number in (("train", 6), ("val", 2)):
        for index in range(number):
            values = np.random.default_rng(index).normal(size=(2, 4, 4, 8)).astype(np.float32)
            np.savez(folder / f"{split}{index:05d}.npz", feature=values, frame_names=FRAME_NAMES)
    return folder


def of_scenes(kind: str, data: Path) -> dict[str, Any]:
    """Read from where such scenes are, with the annotations of the world that they show."""
    if kind == "micro":
        return {}
    folder = data / f"scenes-{kind}"
    chosen = tiny_scenes(kind, folder)
    if chosen.package is not None:
        pytest.importorskip(chosen.package[0], reason=f"pip install {chosen.package[1]}")
    scenes = chosen.canonical()
    start = {"kind": "llava_video", "checkpoint": str(data / "student")}
    if not chosen.has_geometry:
        return {"scenes": scenes, **colour_alone(start, folder)}
    elsewhere = {
        "students": {"llava": start},
        "benchmarks.annotations": str(data / "world"),
        "benchmarks.box_file": str(data / "metadata/scannet_gt_box.json"),
        "benchmarks.candidates": "ground_truth",
    }
    return {"scenes": scenes, **elsewhere}


def colour_alone(start: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What goes with scenes that have neither depth nor cameras."""
    return {
        "students": {"llava": {**start, "position_encoding": False, "coord_input": "region"}},
        "training.gradient_accumulation": None,
        "benchmarks.names": ["vsibench"],
        "benchmarks.training": ["spar", "llava_hound"],
        "benchmarks.splits": {"vsibench": "test"},
        "benchmarks.annotations": str(folder / "vsibench"),
    }


def of_benchmark(kind: str, data: Path) -> dict[str, Any]:
    """Asked beside one that every world has."""
    return {
        **of_scenes("rgbd_folder", data),
        "benchmarks.annotations": str(data / "annotated"),
        "benchmarks.names": list(dict.fromkeys(["scanqa", kind])),
        "benchmarks.missing_scenes": "leave_out",  # ReVSI's scenes are clips of their own
    }


def of_objective(kind: str, _data: Path) -> dict[str, Any]:
    """Alone beside the text loss."""
    off = {f"{name}.weight": 0.0 for name in OBJECTIVES if name not in (kind, "text")}
    on = {f"{kind}.weight": 1.0}
    return {**off, **on, "teacher": "vggt" if OBJECTIVES[kind]().reads_teacher else "none"}


def of_alignment_loss(kind: str, _data: Path) -> dict[str, Any]:
    """Alone."""
    return {"teacher": "vggt", "alignment.loss": kind}


def held_out(_kind: str, _data: Path) -> dict[str, Any]:
    """Evaluated on scenes that training leaves out."""
    return {"held_out": 0.4, "training.validate_every": 1}


def untrained(_kind: str, _data: Path) -> dict[str, Any]:
    """A start, evaluated as it is."""
    return {"training.steps": 0}


CASES = {
    **{f"student {kind}": (of_student, kind) for kind in STUDENTS},
    **{f"teacher {kind}": (of_teacher, kind) for kind in TEACHERS},
    **{f"scenes {kind}": (of_scenes, kind) for kind in SCENES},
    **{f"benchmark {kind}": (of_benchmark, kind) for kind in BENCHMARKS},
    **{f"objective {kind}": (of_objective, kind) for kind in OBJECTIVES},
    **{f"loss {kind}": (of_alignment_loss, kind) for kind in known_losses()},
    "held out": (held_out, ""),
    "untrained": (untrained, ""),
}
"""A newcomer in a registry is run by itself; one without data of its own fails and says so."""


@pytest.mark.parametrize("case", CASES)
def test_what_a_step_loads_is_in_its_key(case: str, fresh: FreshSteps, data: Path) -> None:
    changes, kind = CASES[case]
    cell = experiment({**MICRO, **changes(kind, data)})
    for role, step in cell_steps(cell, 1, FileDigests()).items():
        fresh.run(step)
        assert fresh.outside_the_key(step) == [], f"step {role} of {case}"


def test_every_kind_of_step_was_run(fresh: FreshSteps) -> None:
    """Runs last: the cases above must have led through all of them."""
    folder = Path(str(steps.__file__)).parent
    kinds = {path.stem for path in folder.glob("*.py") if "def run(" in path.read_text()}
    assert kinds == fresh.kinds
