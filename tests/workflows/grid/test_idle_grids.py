"""Grids that would run for nothing are refused before they start."""

import pytest

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import expand

HEAD = "version: 1\nname: test\nbase:\n  preset: micro\n"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("  benchmarks.split: vla\n", "g.yaml:5:21: benchmarks", "did you mean 'val'?"),
        ("  benchmarks.splits: {scanqa: vall}\n", "g.yaml:5:31", "no split 'vall'; did you mean"),
        ("  benchmarks.names: [scanqa, scanqa]\n", "g.yaml:5:21", "scanqa stands here twice"),
        ("  text.weight: 0\n  grounding.weight: 0\n", "training", "steps with nothing to learn"),
        ("report: {metrics: [scanqq/em@1]}\n", "g.yaml:5:20", "did you mean 'scanqa'?"),
    ],
)
def test_a_grid_for_nothing_is_refused_at_its_line(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(load_document(HEAD + text, "g.yaml"))
    (fault,) = map(str, caught.value.faults)
    assert place in fault and message in fault


def test_a_teacher_alone_is_something_to_learn() -> None:
    weights = "  text.weight: 0\n  grounding.weight: 0\n  teacher: vggt\n"
    assert len(expand(load_document(HEAD + weights, "g.yaml")).cells) == 1
