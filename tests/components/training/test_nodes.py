"""One training on several machines: a leader, its followers, and what becomes of them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Client, Pipe
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
)
from threedrs_components.training import launch, nodes, ranks
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs, TrainingSummary
from threedrs_components.training.nodes import Address, Follower, Seat, gather, join, leading
from threedrs_components.training.ranks import Place, RankTask
from threedrs_platform.errors import ConfigError, DataError, StepFailed, StorageError


class Machines:
    """A leader here and one follower, whose connection a test may cut."""

    def __init__(self) -> None:
        self.losses: list[str] = []
        addresses: list[Address] = []
        found: list[Follower] = []
        self.threads = [
            threading.Thread(
                target=lambda: found.append(join(Seat(1, 2), lambda: _last(addresses), 20))
            )
        ]
        self.threads[0].start()
        self.group = gather(
            Seat(0, 2), addresses.append, lambda: self.losses.append("lost"), patience_s=20
        )
        self.threads[0].join()
        (self.follower,), (self.address,) = found, addresses
        self.ended: list[bool] = []
        work = threading.Thread(target=lambda: self.ended.append(self.follower.work()))
        work.start()
        self.threads.append(work)

    def wait(self) -> bool:
        """How the follower has ended."""
        self.threads[-1].join(20)
        return self.ended[0]


def _last(addresses: list[Address]) -> Address | None:
    return addresses[-1] if addresses else None


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    """Ranks are forked here: they use nothing of their parent."""
    one_by_one, start = threading.Lock(), ranks._start

    def start_alone(task: RankTask, place: Place) -> Any:
        with one_by_one:  # forked meanwhile, another rank would hold this one's pipe open
            return start(task, place)

    monkeypatch.setattr(ranks, "_start", start_alone)
    monkeypatch.setattr("multiprocessing.get_context", lambda _: ForkContext())
    monkeypatch.setattr(nodes, "LOOK_S", 0.05)
    monkeypatch.setattr(nodes, "RETRY_S", 0.05)
    monkeypatch.setattr(launch, "PULSE_S", 0.05)
    monkeypatch.setattr(launch, "GRACE_S", 0.2)
    found = Machines()
    with leading(found.group):
        yield found
    found.wait()


def trained(monkeypatch: pytest.MonkeyPatch, folder: Path, rank: Any, workers: int = 4) -> Any:
    """Train with ranks that do what a function says; its reports, and the summary."""
    monkeypatch.setattr(ranks, "run_rank", rank)
    config = TrainingConfig(workers=workers, strategy="ddp", scenes_per_step=12)
    inputs = TrainingInputs(LlavaVideoConfig(), Path(), {}, config, TASKS)
    reports: list[Any] = []
    summary = train_here(
        inputs,
        report=lambda *told: reports.append(told),
        checkpoint_dir=folder,
        out=folder / "out",
    )
    return reports, summary


def says_where(task: RankTask, place: Place, messages: Any) -> None:
    """A rank that leaves its place, and reports if it is the first."""
    file = task.checkpoint_dir / f"rank-{place.rank}"
    file.write_text(f"{place.device} of {place.beside}, {task.meeting[0]}")  # type: ignore[index]
    if place.rank == 0:
        messages.send(((1, {"loss": 0.5}), ""))
    messages.send((TrainingSummary(1, place.rank, 0.0, 0.0, {}), ""))


def test_ranks_are_spread_evenly_and_the_first_one_is_heard(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for _ in range(2):  # a group trains as often as it is asked
        reports, summary = trained(monkeypatch, tmp_path, says_where)
        assert reports == [(1, {"loss": 0.5})] and summary.resumed_from == 0
    where = [(tmp_path / f"rank-{rank}").read_text() for rank in range(4)]
    other = machines.follower.host
    assert where[:2] == ["0 of 2, localhost", "1 of 2, localhost"]
    assert where[2:] == [f"0 of 2, {other}", f"1 of 2, {other}"]


def waits_for_ever(task: RankTask, place: Place, messages: Any) -> None:
    (task.checkpoint_dir / f"pid-{place.rank}").write_text(str(os.getpid()))
    signal.pause()


def misses_a_scene(task: RankTask, place: Place, messages: Any) -> None:
    if place.rank == 3:
        messages.send((DataError("scene0000_00 was not prepared"), "far away"))
    waits_for_ever(task, place, messages)


def dies(task: RankTask, place: Place, messages: Any) -> None:
    if place.rank == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    waits_for_ever(task, place, messages)


def all_gone(folder: Path) -> bool:
    """Whether no rank that left its number is alive."""
    return not any(
        Path(f"/proc/{file.read_text()}/stat").exists()
        and " Z " not in Path(f"/proc/{file.read_text()}/stat").read_text()
        for file in folder.glob("pid-*")
    )


@pytest.mark.parametrize(
    ("rank", "error", "words"),
    [
        (misses_a_scene, DataError, "was not prepared"),
        (dies, StepFailed, "rank 2 of the training ended by SIGKILL"),
    ],
)
def test_a_failure_far_away_ends_all_ranks_with_its_own_error(
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    rank: Any,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        trained(monkeypatch, tmp_path, rank)
    until(lambda: all_gone(tmp_path))
    assert trained(monkeypatch, tmp_path, says_where)[1].steps == 1, "the group is of no use"


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def test_a_lost_machine_is_no_bug_and_tells_the_worker_to_leave(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut(task: RankTask, place: Place, messages: Any) -> None:
        (task.checkpoint_dir / "begun").touch()
        waits_for_ever(task, place, messages)

    def unplug() -> None:
        until((tmp_path / "begun").exists)
        with socket.socket(fileno=os.dup(machines.follower.connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)  # forked ranks have copies: closing would not do

    cutter = threading.Thread(target=unplug)
    cutter.start()
    with pytest.raises(StepFailed, match="machine 2 of 2 left the training") as told:
        trained(monkeypatch, tmp_path, cut)
    cutter.join()
    assert told.value.failure == "infra" and machines.losses
    assert machines.wait() is False
    with pytest.raises(StepFailed, match="machine 2 of 2 left"):
        trained(monkeypatch, tmp_path, says_where)


def test_a_follower_that_is_to_stop_leaves_that_to_its_leader(machines: Machines) -> None:
    machines.follower.wants_to_stop.set()
    until(lambda: machines.losses)
    assert machines.threads[-1].is_alive()
    machines.group.close()
    assert machines.wait() is True


def test_what_the_pulse_raises_ends_all_ranks(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranks, "run_rank", waits_for_ever)
    inputs = TrainingInputs(
        LlavaVideoConfig(),
        Path(),
        {},
        TrainingConfig(workers=2, strategy="ddp", scenes_per_step=2),
        TASKS,
    )

    def pulse() -> None:
        if len(list(tmp_path.glob("pid-*"))) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_here(
            inputs,
            report=lambda *_: None,
            checkpoint_dir=tmp_path,
            out=tmp_path / "out",
            pulse=pulse,
        )
    until(lambda: all_gone(tmp_path))


def test_workers_that_do_not_divide_are_refused(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="3 workers cannot be spread evenly over 2 processes"):
        trained(monkeypatch, tmp_path, says_where, workers=3)


def test_who_does_not_know_the_key_is_kept_out_and_those_who_stay_away_are_named() -> None:
    refused: list[Exception] = []

    def knock(address: Address) -> None:
        def stranger() -> None:
            try:
                Client(("localhost", address.port), authkey=b"guess")
            except Exception as error:
                refused.append(error)

        thread = threading.Thread(target=stranger)
        thread.start()
        thread.join()

    with pytest.raises(StorageError, match=r"2 of 3 processes did not come .*: 1, 2"):
        gather(Seat(0, 3), knock, lambda: None, patience_s=0.5)
    assert refused


def test_who_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "RETRY_S", 0.05)
    threads: list[threading.Thread] = []
    silent: list[socket.socket] = []

    def knock(address: Address) -> None:
        silent.append(socket.create_connection(("localhost", address.port)))
        follows = threading.Thread(target=lambda: join(Seat(1, 2), lambda: address, 10).work())
        threads.append(follows)
        follows.start()

    with leading(gather(Seat(0, 2), knock, lambda: None, patience_s=5)):
        pass
    threads[0].join(20)
    assert not threads[0].is_alive()
    silent[0].close()


def test_a_leader_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "LOOK_S", 0.05)
    monkeypatch.setattr(nodes, "RETRY_S", 0.05)
    with socket.create_server(("localhost", 0)) as mute:
        address = Address(("localhost",), mute.getsockname()[1], "key")
        with pytest.raises(StorageError, match="localhost"):
            join(Seat(1, 2), lambda: address, patience_s=0.2)


@pytest.mark.parametrize("is_quick", [True, False])
def test_followers_that_are_let_go_are_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, is_quick: bool
) -> None:
    ours, theirs = Pipe()
    group = nodes.Group(Seat(0, 2), {1: ours}, lambda: None)
    monkeypatch.setattr(nodes, "GONE_S", 20 if is_quick else 0.1)
    left: list[float] = []

    def leave() -> None:
        assert theirs.recv() == ("over",)
        time.sleep(0.3)
        left.append(time.monotonic())
        theirs.close()

    follower = threading.Thread(target=leave)
    follower.start()
    group.close()
    assert bool(left) is is_quick
    follower.join()


def test_a_leader_that_is_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "RETRY_S", 0.01)
    with pytest.raises(StorageError, match="it has not said where it is"):
        join(Seat(1, 2), lambda: None, patience_s=0.05)
    nobody = Address(("localhost",), 1, "key")
    with pytest.raises(StorageError, match="localhost:1"):
        join(Seat(1, 2), lambda: nobody, patience_s=0.05)


@pytest.mark.ranks
def test_two_machines_train_what_two_ranks_of_one_train(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path / "student")
    samples = {}
    for number, name in enumerate(("a", "b")):
        scene = random_scene(name, number)
        write_prepared(scene, tmp_path / "prepared")
        samples[name] = random_samples(scene, 6, number)
    inputs = TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(tmp_path / "student")),
        prepared=tmp_path / "prepared",
        samples=samples,
        training=TrainingConfig(
            steps=2,
            scenes_per_step=2,
            questions_per_scene=4,
            log_every=1,
            strategy="ddp",
            workers=2,
        ),
        objectives=TASKS,
    )
    machines = Machines()
    with leading(machines.group):
        two = curve(inputs, tmp_path / "two")
    assert machines.wait() is True and not machines.losses
    assert two == curve(inputs, tmp_path / "one") and len(two) == 2
    weights = [tmp_path / each / "out/model.safetensors" for each in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    logs = sorted(path.name for path in (tmp_path / "two").glob("*.log"))
    assert logs == ["7.rank-0.log", "7.rank-1.log"]


def curve(inputs: TrainingInputs, folder: Path) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    folder.mkdir()
    found: list[tuple[float, float]] = []
    train_here(
        inputs,
        report=lambda _, values: found.append((values["loss"], values["gradient_norm"])),
        checkpoint_dir=folder / "checkpoints",
        out=folder / "out",
        log_file=folder / "7.log",
    )
    return found
