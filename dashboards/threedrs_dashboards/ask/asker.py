"""Questions that wait for one worker, and what became of them."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np

from threedrs_components.models.asking import Answer, Kind, ask, ask_again, cautions
from threedrs_components.models.pictures import draw_answer
from threedrs_dashboards.ask.opening import Model, Opening, Seen
from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.viewer.pictures import png
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.records import Sample

MOST_WAITING = 20
"""Questions that have no answer yet."""
KEPT_PLACES, KEPT_TURNS, KEPT_PICTURES = 20, 50, 50
"""Places, questions about each, and pictures of answers about all of them."""
IDLE_S = 600.0
"""Seconds without a question after which the students are closed."""
PATIENCE_S = 600.0
"""Seconds after which nobody waits for an answer any more."""
T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Stage(StrEnum):
    """How far a question is."""

    WAITING = "waiting for the questions before it"
    LOADING = "loading the student"
    READING = "reading the scene"
    ANSWERING = "answering"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True)
class Question:
    """What somebody wants to know."""

    text: str
    kind: Kind
    sample: Sample | None = None
    """Of the cell's own evaluation: put exactly as its run put it."""
    why: str = ""
    """Why its answer is of this kind."""


@dataclass
class Turn:
    """One question, and what became of it."""

    number: int
    question: Question
    asked_at: float
    stage: Stage = Stage.WAITING
    answer: Answer | None = None
    why_failed: str = ""
    picture: bytes | None = None
    """PNG: the chosen box in frames that show it."""
    is_picture_dropped: bool = False
    """Whether there was one, before so many others were drawn."""
    notes: tuple[str, ...] = ()
    seconds: dict[Stage, float] = field(default_factory=dict)
    """That each stage took; of a stage that several questions shared, for all of them."""
    shared: int = 1
    """Questions that were answered together."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self.stage in (Stage.ANSWERED, Stage.FAILED)


class Busy(Exception):
    """So many questions wait that no other is taken."""


class Asker:
    """Answers questions one after the other; those about one scene that wait together share it."""

    def __init__(self, opening: Opening, clock: Callable[[], float] = time.monotonic) -> None:
        self._opening, self._clock = opening, clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._places: OrderedDict[Place, list[Turn]] = OrderedDict()
        self._waiting: list[tuple[Place, Turn]] = []
        self._worker: threading.Thread | None = None
        self._closing: threading.Timer | None = None
        self._drawn: deque[Turn] = deque()

    def put(self, place: Place, questions: Sequence[Question]) -> list[Turn]:
        """Let questions wait for an answer.

        Raises:
            Busy: too many wait already.
        """
        with self._lock:
            unanswered = sum(not each.is_done for turns in self._places.values() for each in turns)
            if unanswered + len(questions) > MOST_WAITING:
                raise Busy(f"{unanswered} questions wait for an answer; ask again later")
            now = self._clock()
            turns = [Turn(next(self._numbers), each, now) for each in questions]
            known = self._places.setdefault(place, [])
            known.extend(turns)
            del known[: max(len(known) - KEPT_TURNS, 0)]
            self._places.move_to_end(place)
            while len(self._places) > KEPT_PLACES:
                self._places.popitem(last=False)
            self._waiting += [(place, each) for each in turns]
            if self._closing is not None:
                self._closing.cancel()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="asker", daemon=True)
                self._worker.start()
        return turns

    def turns(self, place: Place) -> tuple[Turn, ...]:
        """What was asked about a place, newest first."""
        with self._lock:
            found = tuple(reversed(self._places.get(place, ())))
        for turn in found:
            if not turn.is_done and self._clock() - turn.asked_at > PATIENCE_S:
                self._fail([turn], f"no answer within {PATIENCE_S:.0f} s; the server may be busy")
        return found

    def turn(self, number: int) -> Turn | None:
        """A question by its number, if it is still known."""
        with self._lock:
            every = (each for turns in self._places.values() for each in turns)
            return next((each for each in every if each.number == number), None)

    def seen(self, place: Place) -> Seen | None:
        """The scene of a place, if it is open."""
        return self._opening.opened_scene(place)

    def wait(self, timeout_s: float) -> None:
        """Until nothing waits any more."""
        worker = self._worker
        if worker is not None:
            worker.join(timeout_s)

    def _work(self) -> None:
        """Until nothing waits: what waits about one place is answered together."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._worker = None
                    self._closing = threading.Timer(IDLE_S, self._close)
                    self._closing.daemon = True
                    self._closing.start()
                    return
                place = self._waiting[0][0]
                turns = [turn for at, turn in self._waiting if at == place]
                self._waiting = [each for each in self._waiting if each[0] != place]
            if _unanswered(turns):
                self._answer(place, _unanswered(turns))

    def _close(self) -> None:
        """Nothing was asked for a while."""
        with self._lock:
            if self._worker is None:
                self._opening.close_models()

    def _answer(self, place: Place, turns: Sequence[Turn]) -> None:
        try:
            model = self._timed(turns, Stage.LOADING, lambda: self._opening.model(place))
            if not _unanswered(turns):
                return
            seen = self._timed(turns, Stage.READING, lambda: self._opening.scene(place, model))
        except Exception as error:
            self._fail(turns, told(error))
            return
        own = [each for each in turns if each.question.sample is not None]
        for asked in (own, [each for each in turns if each not in own]):
            group = _unanswered(asked)
            try:
                self._answer_group(model, seen, group)
            except Exception as error:
                self._fail(group, told(error))

    def _answer_group(self, model: Model, seen: Seen, turns: Sequence[Turn]) -> None:
        if not turns:
            return
        answers = self._timed(turns, Stage.ANSWERING, lambda: _answers(model, seen, turns))
        for turn, answer in zip(turns, answers, strict=True):
            picture = draw_answer(seen.scene, answer)
            drawn = None if picture is None else png(np.asarray(picture))
            notes = (*cautions(model.student, [answer]), *seen.remarks)
            with self._lock:
                if turn.is_done:
                    continue
                turn.answer, turn.shared, turn.notes = answer, len(turns), notes
                self._keep(turn, drawn)
                turn.stage = Stage.ANSWERED

    def _keep(self, turn: Turn, picture: bytes | None) -> None:
        """Give a question its picture; the oldest of too many is dropped."""
        if picture is None:
            return
        turn.picture = picture
        self._drawn.append(turn)
        if len(self._drawn) > KEPT_PICTURES:
            oldest = self._drawn.popleft()
            oldest.picture, oldest.is_picture_dropped = None, True

    def _timed(self, turns: Sequence[Turn], stage: Stage, work: Callable[[], T]) -> T:
        with self._lock:
            for turn in _unanswered(turns):
                turn.stage = stage
        began = self._clock()
        found = work()
        for turn in turns:
            turn.seconds[stage] = self._clock() - began
        return found

    def _fail(self, turns: Sequence[Turn], why: str) -> None:
        with self._lock:
            for turn in _unanswered(turns):
                turn.why_failed, turn.stage = why, Stage.FAILED


def _unanswered(turns: Sequence[Turn]) -> list[Turn]:
    """Those of which somebody still waits for the answer."""
    return [each for each in turns if not each.is_done]


def _answers(model: Model, seen: Seen, turns: Sequence[Turn]) -> list[Answer]:
    """Of questions that are all free, or all of the cell's own evaluation."""
    samples = [each.question.sample for each in turns if each.question.sample is not None]
    if samples:
        return ask_again(model.recipe, model.student, seen.scene, samples)
    pairs = [(each.question.text, each.question.kind) for each in turns]
    return ask(model.recipe, model.student, seen.scene, pairs)


def told(error: Exception) -> str:
    """An error for the page; what nobody foresaw goes into the log of the server, too."""
    if isinstance(error, ThreedrsError):
        return str(error)
    _logger.error("a question could not be answered", exc_info=error)
    first = (str(error).splitlines() or [""])[0]
    return f"this could not be answered: {type(error).__name__}: {first}"
