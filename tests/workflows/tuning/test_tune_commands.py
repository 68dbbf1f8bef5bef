"""The commands that `workflows tune` prints run what it has run, in any shell."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from threedrs_workflows.cli.tune import submit_line, tune_line

SAID = Namespace(
    file=Path("my grid.yaml"),
    smoke=True,
    sets=["alignment.layers=[1]", "seeds=1,2"],
    where="teacher != 'mae'",
    workspace="/data/my runs",
)
PLAIN = Namespace(file=Path("grid.yaml"), smoke=False, sets=[], where=None, workspace=None)


def test_going_on_repeats_what_makes_the_search() -> None:
    assert shlex.split(tune_line(SAID)) == [
        "workflows", "tune", "my grid.yaml", "--smoke", "--set", "alignment.layers=[1]",
        "--set", "seeds=1,2", "--workspace", "/data/my runs", "--where", "teacher != 'mae'",
    ]  # fmt: skip
    assert tune_line(PLAIN) == "workflows tune grid.yaml"


def test_the_best_grid_is_submitted_in_the_same_sizes_to_the_same_workspace() -> None:
    assert shlex.split(submit_line(SAID, Path("/data/my runs/best.yaml"))) == [
        "workflows", "submit", "/data/my runs/best.yaml", "--smoke",
        "--set", "alignment.layers=[1]", "--workspace", "/data/my runs",
    ]  # fmt: skip
    assert submit_line(PLAIN, Path("best.yaml")) == "workflows submit best.yaml"
