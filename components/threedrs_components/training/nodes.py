"""One training on several machines: a leader whose process has the step, and followers.

srun, torchrun or mpirun starts them all. The leader tells each follower which ranks are its own,
and hears what these say; nothing else passes between them but what ranks exchange themselves.
Connections are open to who knows the key, which only files and processes of this user hold.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

from torch import distributed

from threedrs_components.training.ranks import (
    TIMEOUT,
    Content,
    RankTask,
    Tell,
    places,
    running,
)
from threedrs_platform.errors import ConfigError, Fault, StepFailed, StorageError

MEET_S = 300.0
"""How long a leader waits for its followers, and they for it."""
LOOK_S, RETRY_S = 0.5, 1.0
LEAVE_S = 60.0
"""How long a follower that was asked to stop waits for its leader to say so."""
HELLO_S = 10.0
"""How long who connects may take for each word until it is known."""
SILENT_S, ASK_EVERY_S, ASKED = 30, 10, 6
"""A machine that has said nothing for so long is asked whether it is there, so often: one without
power or network is known to be gone after a minute and a half."""
GONE_S = 10.0
"""How long a leader that lets its followers go waits until they are gone."""


@dataclass(frozen=True)
class Seat:
    """One process among those that were started together."""

    number: int
    """0 leads."""
    size: int
    beside: int = 0
    """Which of the processes on its machine it is."""
    on_machine: int = 1
    """How many of them its machine has."""


class Group:
    """A leader's connections to its followers. Trains one thing at a time."""

    def __init__(
        self, seat: Seat, followers: Mapping[int, Connection], on_loss: Callable[[], None]
    ) -> None:
        """Listen to followers, by number of their seats.

        Args:
            on_loss: called when a follower is gone or wants to stop: the group is of no use then.
        """
        self.seat, self._followers, self._on_loss = seat, followers, on_loss
        self._tell: Tell | None = None
        self._number = 0
        self._ranks: dict[int, Sequence[int]] = {}
        self._lost: dict[int, str] = {}
        self._is_over = False
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._listening = [
            threading.Thread(target=self._listen, args=each, daemon=True)
            for each in followers.items()
        ]
        for thread in self._listening:
            thread.start()

    @property
    def size(self) -> int:
        """How many processes the group has, the leader's included."""
        return self.seat.size

    @contextlib.contextmanager
    def training(self, task: RankTask, tell: Tell) -> Iterator[None]:
        """All ranks at work while the body runs; afterwards they are gone, everywhere.

        The store at which ranks meet, and the ranks' own connections, are torch's: they are open to
        whoever reaches this machine, without the key.

        Raises:
            ConfigError: the workers cannot be spread evenly.
            StepFailed: a follower is gone.
        """
        each = ranks_of_each(task.size, self.size)
        module: Any = distributed  # torch exports the class without declaring it
        store = module.TCPStore(
            "localhost", 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT
        )
        self._begin(task, each, store.port, tell)
        own = replace(task, meeting=("localhost", store.port))
        ours = places(0, each, self.seat.beside * each, each * self.seat.on_machine)
        is_done = False
        try:
            with running(own, ours, tell):
                yield
            is_done = True
        finally:
            with self._lock:
                self._tell = None
            self._send(("end", is_done))

    def close(self) -> None:
        """Let the followers go, and wait until they are gone.

        Where this process ends with an error code first, srun would kill those that still do.
        """
        self._is_over = True
        self._send(("over",))
        end = time.monotonic() + GONE_S
        for thread in self._listening:
            thread.join(max(0.0, end - time.monotonic()))

    def _begin(self, task: RankTask, each: int, port: int, tell: Tell) -> None:
        with self._lock:
            if self._lost:
                raise StepFailed("; ".join(self._lost.values()), "infra")
            self._number += 1
            self._tell = tell
            self._ranks = {n: range(n * each, (n + 1) * each) for n in self._followers}
        for number, connection in self._followers.items():
            self._send(("train", self._number, task, number * each, each, port), connection)

    def _send(self, message: tuple[Any, ...], to: Connection | None = None) -> None:
        for connection in self._followers.values() if to is None else (to,):
            with self._sending, contextlib.suppress(OSError):  # its listener tells of the loss
                connection.send(message)

    def _listen(self, number: int, connection: Connection) -> None:
        """Pass on what the ranks of a follower say; a lost one takes its ranks along."""
        try:
            while True:
                message = connection.recv()
                if message[0] == "stop":
                    self._on_loss()
                elif message[1] == self._number and (tell := self._tell) is not None:
                    tell(*message[2:])
        except (EOFError, OSError):
            pass
        if self._is_over:
            return
        with self._lock:
            why = f"machine {number + 1} of {self.size} left the training"
            self._lost[number] = why
            tell, ranks = self._tell, self._ranks.get(number, ())
        if tell is not None:
            for rank in ranks:
                tell(rank, StepFailed(f"{why} with rank {rank}", "infra"))
        self._on_loss()


def ranks_of_each(workers: int, processes: int) -> int:
    """How many ranks each process of a group has.

    Raises:
        ConfigError: they cannot be spread evenly.
    """
    if workers % processes:
        message = f"{workers} workers cannot be spread evenly over {processes} processes; use a "
        message += f"multiple of {processes}, or start fewer"
        raise ConfigError([Fault(message, path="training.workers")])
    return workers // processes


_groups: list[Group] = []


def current_group() -> Group | None:
    """The group that this process leads, None if it trains alone."""
    return _groups[-1] if _groups else None


@contextlib.contextmanager
def leading(group: Group) -> Iterator[None]:
    """Trainings of this process are those of a group while the body runs."""
    _groups.append(group)
    try:
        yield
    finally:
        _groups.remove(group)
        group.close()


@dataclass(frozen=True)
class Address:
    """Where a leader is found, and what opens its door."""

    hosts: tuple[str, ...]
    """Names and numbers by which its machine may be known."""
    port: int
    key: str


def gather(
    seat: Seat,
    publish: Callable[[Address], None],
    on_loss: Callable[[], None],
    patience_s: float = MEET_S,
) -> Group:
    """Wait for all followers.

    Args:
        seat: the leader's.
        publish: told where followers have to knock.
        on_loss: see `Group`.

    Raises:
        StorageError: some did not come.
    """
    key = secrets.token_hex(32)
    found: queue.SimpleQueue[tuple[int, Connection]] = queue.SimpleQueue()
    followers: dict[int, Connection] = {}
    # Of all machines: the key keeps strangers out, before anything that they say is read.
    with _answering(key, seat.size, found) as port:
        publish(Address(_names_of_this_machine(), port, key))
        end = time.monotonic() + patience_s
        while len(followers) < seat.size - 1:
            try:
                number, connection = found.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                missing = sorted(set(range(1, seat.size)) - followers.keys())
                text = ", ".join(map(str, missing))
                message = f"{len(missing)} of {seat.size} processes did not come within "
                raise StorageError(f"{message}{patience_s:g} s: {text}") from None
            followers[number] = connection
    return Group(seat, followers, on_loss)


def join(seat: Seat, find: Callable[[], Address | None], patience_s: float = MEET_S) -> Follower:
    """Find the leader.

    Args:
        seat: the follower's.
        find: where the leader says that it is; None while it has said nothing.

    Raises:
        StorageError: it does not answer.
    """
    end = time.monotonic() + patience_s
    address, why = find(), "it has not said where it is"
    while time.monotonic() < end:
        hosts = ((each, address) for each in address.hosts) if address is not None else ()
        for host, at in hosts:
            try:
                within_s = min(HELLO_S, max(LOOK_S, end - time.monotonic()))
                return Follower(seat, _introduced(seat, host, at, within_s), host)
            except _NO_HELLO as error:
                why = f"{host}:{at.port}: {error}"
        time.sleep(RETRY_S)
        address = find()
    raise StorageError(f"the first process was not found within {patience_s:g} s: {why}")


_NO_HELLO = (AuthenticationError, AssertionError, EOFError, OSError)
"""What a handshake raises: with a stranger, or one that did not wait or says nothing."""


@contextlib.contextmanager
def _answering(
    key: str, size: int, found: queue.SimpleQueue[tuple[int, Connection]]
) -> Iterator[int]:
    """Let in who knows the key, while the body runs; yields the port.

    Each is heard in a thread of its own: one that says nothing keeps no other waiting.
    """
    is_over = threading.Event()

    def hear(line: socket.socket) -> None:
        with contextlib.suppress(*_NO_HELLO):
            connection = _patient(line, HELLO_S)
            deliver_challenge(connection, key.encode())
            answer_challenge(connection, key.encode())
            number = int(connection.recv()[1])
            _set_patience(connection, 0)
            found.put((number, connection))

    def answer() -> None:
        while not is_over.is_set():
            try:
                line, _ = door.accept()
            except OSError:  # it is over, or there are too many connections
                is_over.wait(LOOK_S)
                continue
            threading.Thread(target=hear, args=(line,), daemon=True).start()

    with socket.create_server(("", 0), backlog=size) as door:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield int(door.getsockname()[1])
        finally:
            is_over.set()
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
            thread.join()


def _introduced(seat: Seat, host: str, at: Address, within_s: float) -> Connection:
    """A connection to a leader that knows who we are."""
    line = socket.create_connection((host, at.port), timeout=within_s)
    connection = _patient(line, within_s)
    answer_challenge(connection, at.key.encode())
    deliver_challenge(connection, at.key.encode())
    connection.send(("here", seat.number))
    _set_patience(connection, 0)
    return connection


def _patient(line: socket.socket, seconds: float) -> Connection:
    """What pickles travel over; reading gives up with an OSError after a silence."""
    line.settimeout(None)
    _ask_whether_it_is_there(line)
    connection = Connection(line.detach())
    _set_patience(connection, seconds)
    return connection


def _ask_whether_it_is_there(line: socket.socket) -> None:
    """Let the system end a connection to a machine that has no power: it sends no word of it."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    waits = {"TCP_KEEPIDLE": SILENT_S, "TCP_KEEPINTVL": ASK_EVERY_S, "TCP_KEEPCNT": ASKED}
    waits["TCP_USER_TIMEOUT"] = 1000 * (SILENT_S + ASK_EVERY_S * ASKED)  # of what was sent
    for name, wait in waits.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has all
            line.setsockopt(socket.IPPROTO_TCP, option, wait)


def _set_patience(connection: Connection, seconds: float) -> None:
    """How long a read may take; 0 = for ever."""
    whole, rest = divmod(seconds, 1)
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        timeval = struct.pack("ll", int(whole), int(1e6 * rest))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)


def _names_of_this_machine() -> tuple[str, ...]:
    name = os.environ.get("SLURMD_NODENAME")
    names = [name] if name else []
    names += [socket.gethostname(), socket.getfqdn()]
    with contextlib.suppress(OSError):
        names += [str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)]
    return tuple(dict.fromkeys(names))


@dataclass
class Follower:
    """Trains along with a leader."""

    seat: Seat
    connection: Connection
    host: str
    """At which the leader was found."""
    wants_to_stop: threading.Event = field(default_factory=threading.Event)
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> bool:
        """Do what the leader says until all is over; False if it is gone without a word."""
        try:
            message = self._next()
            while message[0] != "over":
                message = self._train(*message[1:]) if message[0] == "train" else self._next()
        except (EOFError, OSError):
            return False
        finally:
            self.connection.close()
        return True

    def _train(
        self, number: int, task: RankTask, first: int, count: int, port: int
    ) -> tuple[Any, ...]:
        """Have the own ranks at work until the leader says another word, which is returned."""
        own = replace(task, meeting=(self.host, port))
        where = places(first, count, self.seat.beside * count, count * self.seat.on_machine)

        def tell(rank: int, content: Content) -> None:
            with contextlib.suppress(OSError):  # the leader is gone: nobody is left to tell
                self._send(("told", number, rank, content))

        with contextlib.suppress(_NotWanted), running(own, where, tell):
            message = self._next()
            if message != ("end", True):
                raise _NotWanted
        return message

    def _next(self) -> tuple[Any, ...]:
        """The leader's next word.

        Raises:
            EOFError: it is gone, or does not answer to the wish to stop.
        """
        end = None
        while end is None or time.monotonic() < end:
            if self.connection.poll(LOOK_S):
                message: tuple[Any, ...] = self.connection.recv()
                return message
            if end is None and self.wants_to_stop.is_set():
                end = time.monotonic() + LEAVE_S
                self._send(("stop",))
        raise EOFError

    def _send(self, message: tuple[Any, ...]) -> None:
        with self._sending:
            self.connection.send(message)


class _NotWanted(Exception):
    """What ranks work on is not wanted any more."""
