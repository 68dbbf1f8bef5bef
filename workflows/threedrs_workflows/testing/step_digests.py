"""Runs every kind of step on a tiny micro world, and prints the digest of each artifact as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.store.manifest import make_manifest
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell

GRID = "version: 1\nname: bytes\nbase: {preset: micro}\n"
CHANGES = {
    "student": "llava",
    "teacher": "vggt",
    "alignment.weight": 1.0,
    "correspondence.weight": 0.5,
    "scenes": {"train": 6, "text": 2, "val": 2, "teacher_scenes": 4, "num_frames": 2},
    "prepare.num_frames": 2,
    "training.steps": 2,
    "training.checkpoint_every": 1,
    "probe.folds": 2,
}


def main(root: Path) -> None:
    """One cell, which is distilled and probed."""
    torch.set_num_threads(1)
    tree = expand(load_document(GRID), smoke=True).base.model_dump(mode="json")
    experiment = Experiment.model_validate(put_in(tree, (), CHANGES))
    cell = OneCell(root)
    digests: dict[str, list[str]] = {}
    for spec in cell_steps(experiment, 1, FileDigests()).values():
        cell.run(spec)
    for folder in sorted(root.iterdir()):
        kind, _, _ = folder.name.partition("-")
        digests.setdefault(kind, []).append(make_manifest(folder / "out").digest())
    print(json.dumps({kind: sorted(found) for kind, found in digests.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
