"""Grids that would run for nothing are refused before they start."""

import pytest

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import expand

HEAD = "version: 1\nname: test\nbase:\n  preset: micro\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  benchmarks.split: vla\n", "did you mean 'val'"),
        ("  benchmarks.splits: {scanqa: tset}\n", "did you mean 'test'"),
        ("  benchmarks.names: [scanqa, scanqa]\n", "scanqa stands here twice"),
        ("  text.weight: 0\n  grounding.weight: 0\n", "nothing to learn"),
        ("report: {metrics: [scanqq/em@1]}\n", "no cell measures 'scanqq/em@1'; did you mean"),
    ],
)
def test_a_grid_for_nothing_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        expand(load_document(HEAD + text, "g.yaml"))
    print([str(fault) for fault in caught.value.faults])


def test_a_teacher_alone_is_something_to_learn() -> None:
    weights = "  text.weight: 0\n  grounding.weight: 0\n  teacher: vggt\n"
    assert len(expand(load_document(HEAD + weights, "g.yaml")).cells) == 1
