from pathlib import Path

import pytest

from threedrs_platform.compute.recorder import (
    LiveTail,
    Recorder,
    StepCancelled,
    captured_output,
    read_json_lines,
)
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


def task(recorder: Recorder, folder: Path) -> StepTask:
    return StepTask({}, {}, folder, folder, recorder)


def test_progress_reaches_a_watcher_while_the_step_runs(tmp_path: Path) -> None:
    live = tmp_path / "live.jsonl"
    tail, running = LiveTail(live), task(Recorder(live_file=live), tmp_path)
    assert tail.new_lines() == []
    running.progress(1, 10, "warming up")
    assert [line["note"] for line in tail.new_lines()] == ["warming up"]
    running.progress(10, 10)
    assert [line["done"] for line in tail.new_lines()] == [10]
    assert tail.new_lines() == []


def test_a_fast_loop_writes_few_lines_and_always_the_last(tmp_path: Path) -> None:
    live = tmp_path / "live.jsonl"
    recorder = Recorder(live_file=live)
    for done in range(1001):
        recorder.progress(done, 1000, "")
    lines = read_json_lines(live)
    assert len(lines) < 50 and lines[-1]["done"] == 1000


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    live = tmp_path / "live.jsonl"
    live.write_text('{"kind":"a"}\n{"kind":')
    tail = LiveTail(live)
    assert len(tail.new_lines()) == 1
    with live.open("a") as file:
        file.write('"b"}\n')
    assert tail.new_lines() == [{"kind": "b"}]


def test_a_metric_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metric acc is nan"):
        task(Recorder(), tmp_path).metric(Metric("acc", float("nan"), 1))


def test_a_metric_reported_twice_is_refused(tmp_path: Path) -> None:
    running = task(Recorder(), tmp_path)
    running.metric(Metric("acc", 1.0, 1))
    with pytest.raises(ValueError, match="metric acc is reported twice"):
        running.metric(Metric("acc", 2.0, 1))


def test_a_cancelled_step_stops_at_its_next_report_even_if_it_catches_exceptions() -> None:
    recorder = Recorder(is_cancelled=lambda: True)

    def greedy() -> None:
        try:
            recorder.progress(0, 1, "")
        except Exception:  # what a careless step may do
            return

    with pytest.raises(StepCancelled):
        greedy()


def test_curve_points_stand_in_the_log_of_the_attempt(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    with captured_output(log, own_process=False):
        task(Recorder(), tmp_path).log(20, {"loss": 0.51234})
    assert "step 20: loss 0.5123" in log.read_text()
