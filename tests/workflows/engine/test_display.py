"""Displays never stand in the way of the run that they show."""

from __future__ import annotations

import io

from threedrs_platform.states import RunState
from threedrs_workflows.engine.display import PlainDisplay


class Deaf(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    display = PlainDisplay(Deaf())
    display.warning("nobody hears this")
    display.finished(RunState.SUCCEEDED)


def test_warnings_and_the_end_are_lines() -> None:
    stream = io.StringIO()
    PlainDisplay(stream).warning("low disk")
    PlainDisplay(stream).finished(RunState.FAILED)
    assert stream.getvalue().splitlines() == ["warning  low disk", "run  failed: "]
