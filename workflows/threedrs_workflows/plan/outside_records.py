"""Annotation files and splits that cells read, looked for before anything starts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from threedrs_components.scenes.splits import SPLITS_FILE
from threedrs_platform.errors import ThreedrsError
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.annotation_records import record_files


def absent_records(experiments: Iterable[Experiment]) -> dict[str, str]:
    """What is not there of annotations and of lists of scenes by split, path -> setting.

    Folders that are not there at all are not looked into: they are missed themselves.
    """
    absent: dict[str, str] = {}
    distinct = {
        (each.scenes.model_dump_json(), each.benchmarks.model_dump_json()): each
        for each in experiments
    }
    for each in distinct.values():
        folder = each.benchmarks.annotations
        if folder is not None and Path(folder).is_dir():
            # A file that is in none of the places where one may lie belongs into the folder itself.
            files = (Path(folder) / path.name for path in record_files(each) if not path.is_file())
            absent |= dict.fromkeys(map(str, files), "benchmarks.annotations")
        absent |= _absent_splits(each)
    return absent


def _absent_splits(experiment: Experiment) -> dict[str, str]:
    """The file of splits of scenes that have one, where it lacks a split that is read."""
    scenes = experiment.scenes
    if scenes.split_names is not None or not scenes.has_geometry or not scenes.data():
        return {}
    setting, root = next(iter(scenes.data().items()))
    if not Path(root).is_dir():
        return {}
    try:
        with tempfile.TemporaryDirectory() as nothing:
            known = scenes.open(Path(nothing)).splits()
    except ThreedrsError:  # the step that reads them says what is wrong
        return {}
    wanted = (scenes.annotated_split, scenes.probe_split, experiment.benchmarks.split)
    lacking = [split for split in dict.fromkeys(wanted) if split not in known]
    if not lacking:
        return {}
    return {str(Path(root) / SPLITS_FILE): f"{setting} (scenes of {', '.join(lacking)})"}
