"""What is counted for a plan is remembered where there is a workspace, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threedrs_components.benchmarks.published_counts import SampleCount
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.plan import sample_counts
from threedrs_workflows.plan.sample_counts import SampleCounter


@pytest.mark.parametrize("looks", [True, False])
def test_counts_are_remembered_by_a_workspace_that_is_there(
    looks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train/scanqa": SampleCount(7, 2)}
    monkeypatch.setattr(sample_counts, "_from_annotations", lambda _: counts)
    step: Any = SimpleNamespace(output_digest=None, hit=False, spec=SimpleNamespace(params={}))
    experiment: Any = None
    with find_workspace(str(tmp_path / "typo"), environment={}, looks=looks) as workspace:
        assert SampleCounter(workspace)._counts(experiment, step) == counts
    assert (tmp_path / "typo" / "cache" / "samples.json").is_file() is not looks
    assert (tmp_path / "typo").exists() is not looks
