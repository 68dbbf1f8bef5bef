"""One cell of the micro world in its smallest sizes, trained and evaluated in this process."""

from __future__ import annotations

from pathlib import Path

from threedrs_workflows.cli import main

GRID = """\
version: 1
name: tiny
seeds: [1]
base:
  preset: micro
  scenes: {kind: micro, train: 6, text: 3, val: 2, num_frames: 3}
  prepare.num_frames: 3
  students.llava.micro: {vision_width: 16, vision_heads: 2, vision_ff: 32}
  students.llava.micro.width: 32
  students.llava.micro.heads: 2
  students.llava.micro.key_value_heads: 2
  students.llava.micro.ff: 64
  student_pretraining:
    {tower_steps: 3, tower_images: 4, language_steps: 3, language_frames: 4, evaluation_frames: 4}
  training: {steps: 2, scenes_per_step: 2, questions_per_scene: 4}
  benchmarks.names: [scanrefer, scanqa]
"""
CELL = "base"
SCENE = "val00000"


def write_tiny_cell(workspace: Path) -> None:
    """Run the grid, which has this one cell, in a workspace of its own: some ten seconds."""
    grid = workspace.with_name("tiny.yaml")
    grid.write_text(GRID)
    words = ["submit", str(grid), "--workspace", str(workspace), "--ray", "none", "--no-report"]
    assert main([*words, "--quiet"]) == 0
