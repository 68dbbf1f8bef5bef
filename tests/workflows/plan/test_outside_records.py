"""Annotation files and splits that are not there are told before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.first_grid import first_grid
from threedrs_workflows.plan.binding import bind_cells


def test_what_init_names_as_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    scene = tmp_path / "rooms" / "attic"
    scene.mkdir(parents=True)
    np.savetxt(scene / "camera-intrinsics.txt", np.eye(3))
    for ending in ("color.png", "depth.png", "pose.txt"):
        (scene / f"frame-000000.{ending}").touch()
    file = tmp_path / "rooms.yaml"
    file.write_text(first_grid("rooms", tmp_path / "rooms").text)
    grid = load_cells(file)
    digests = FileDigests()
    bind_cells(grid, digests, need_data=False)
    splits = str(tmp_path / "rooms" / "splits.json")
    assert digests.absent is not None
    assert digests.absent[splits] == "scenes.root (scenes of text, probe, val)"
    names = {Path(path).name for path, key in digests.absent.items() if "annotations" in key}
    assert names == {"ScanQA_v1.0_train.json", "ScanQA_v1.0_val.json"}
    Path(splits).write_text(json.dumps({"text": ["attic"], "val": ["attic"]}))
    with pytest.raises(ConfigError, match=r"scenes\.root: .*splits\.json: lacks scenes of probe"):
        bind_cells(grid, FileDigests())
