"""What the server answers about questions: the page, a form with questions, a picture."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.models.asking import BEGINNINGS, POINTING, kind_of
from threedrs_dashboards.ask.asker import Asker, Busy, Question, Stage, Turn
from threedrs_dashboards.ask.opening import Opening
from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.ask.rooms import list_rooms, room_folder
from threedrs_dashboards.ask.said import room_of, said
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.pages import respond
from threedrs_dashboards.query import number, text, url
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.viewer.answers import SAMPLES, find_sample, scene_samples
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.scene_data import scene_ids
from threedrs_dashboards.viewer.state import Chosen, choose
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.records import Sample

PATH = "/ask"
LOOK_S = 1
"""Seconds between two looks at questions that wait for an answer."""
LONGEST_QUESTION, MOST_AT_ONCE = 500, 20
LARGEST_FORM, MOST_FIELDS = 1 << 17, 100
"""Bytes: as many of the longest questions as are taken at once, 12 bytes a character, as the signs
of any script may take in a form; and fields of a form."""
KINDS = {
    "": "guess from the wording of each",
    "text": "in words",
    "ground": "by a box, chosen among candidates",
}
_LISTED = ", ".join(f'"{each}"' for each in BEGINNINGS)
_making = threading.Lock()


def asker_of(request: Request) -> Asker:
    """The one that answers for this server."""
    state = request.app.state
    with _making:
        if not hasattr(state, "asker"):
            state.asker = Asker(Opening(store_of(request), state.rooms))
            state.token = secrets.token_urlsafe(16)
    asker: Asker = state.asker
    return asker


def show(request: Request) -> Response:
    """The form, and what was asked about a scene until now."""
    store, asker = store_of(request), asker_of(request)
    chosen = choose(request, store)
    scenes, why_none = _scenes(chosen, store)
    rooms = [*list_rooms(request.app.state.rooms)]
    evaluated = _evaluated(chosen, store) & {*scenes}
    place = _place(request, chosen, scenes, evaluated)
    samples = _samples(chosen, place, store)
    turns = asker.turns(place) if place else ()
    by_id = {each.sample_id: each for each in samples}
    context = {
        "title": "Ask a trained student",
        "run": chosen.run,
        "chosen": chosen,
        "focus": chosen.focus,
        "scenes": {
            "of the run, with questions": [each for each in scenes if each in evaluated],
            "others of the run": [each for each in scenes if each not in evaluated],
        },
        "rooms": rooms,
        "place": place,
        "why_none": why_none or _why_not(chosen),
        "samples": samples,
        "said": [said(each, chosen.cell, by_id, store) for each in turns],
        "kinds": KINDS,
        "pointing": _LISTED,
        "longest": LONGEST_QUESTION,
        "token": request.app.state.token,
        "look": LOOK_S if any(not each.is_done for each in turns) else 0,
        "path": PATH,
        "stages": Stage,
    }
    return respond(request, "ask.html", context, _charts(asker, place, turns))


def _charts(asker: Asker, place: Place | None, turns: Sequence[Turn]) -> list[Chart]:
    """The scene in 3D, if it is open; not while the page is fetched again every second."""
    is_going_on = any(not each.is_done for each in turns)
    seen = asker.seen(place) if place and not is_going_on else None
    return [] if seen is None else [room_of(seen.scene, turns)]


def _scenes(chosen: Chosen, store: Store) -> tuple[tuple[str, ...], str]:
    """Scenes that were prepared for a cell, or why there are none."""
    try:
        return scene_ids(chosen.cell, store.artifacts), ""
    except ThreedrsError as error:
        return (), str(error)


def _evaluated(chosen: Chosen, store: Store) -> frozenset[str]:
    """Scenes that the cell's own evaluation asks about."""
    try:
        folder = chosen.cell.folder(SAMPLES, store.artifacts)
    except ThreedrsError:
        return frozenset()
    return _scenes_asked_about(folder / "evaluation.jsonl")


@lru_cache(maxsize=8)
def _scenes_asked_about(samples: Path) -> frozenset[str]:
    return frozenset(each.scene_id for each in read_samples(samples))


def _why_not(chosen: Chosen) -> str:
    """Why a cell cannot be asked; empty where it can."""
    cell = chosen.cell
    if cell.student_role in cell.digests:
        return ""
    return f"{cell.title} (seed {cell.seed}) has no trained student yet"


def _place(
    request: Request, chosen: Chosen, scenes: Sequence[str], evaluated: frozenset[str]
) -> Place | None:
    """What a URL asks about; the first scene where it names none.

    Raises:
        Missing: there is no such scene or folder.
    """
    cell = chosen.cell
    scene, room = _subject(request)
    if room:
        room_folder(request.app.state.rooms, room)
        return Place(cell.run_id, cell.cell_id, cell.seed, room=room)
    if scene and scene not in scenes:
        raise Missing(f"{cell.title} has no scene {scene!r}{did_you_mean(scene, scenes)}")
    named = scene or next(iter(sorted(evaluated)), next(iter(scenes), ""))
    return Place(cell.run_id, cell.cell_id, cell.seed, named) if named else None


def _subject(request: Request) -> tuple[str, str]:
    """Scene or folder of a URL: the page's form names either as one choice, `about=scene=ID`."""
    kind, _, name = text(request, "about").partition("=")
    given = {kind: name} if kind else {each: text(request, each) for each in ("scene", "room")}
    return given.get("scene", ""), given.get("room", "")


def _samples(chosen: Chosen, place: Place | None, store: Store) -> tuple[Sample, ...]:
    """The questions that the cell's own evaluation asks about a scene."""
    if place is None or not place.scene:
        return ()
    try:
        return scene_samples(chosen.cell, place.scene, store.artifacts)
    except ThreedrsError:
        return ()


async def put(request: Request) -> Response:
    """Take the questions of a form, and lead back to the page."""
    body = (await _body(request)).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(422, f"a form has at most {MOST_FIELDS} fields") from None
    return await run_in_threadpool(_put, request, fields)


async def _body(request: Request) -> bytes:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_FORM:
            raise HTTPException(413, f"a form has at most {LARGEST_FORM} bytes")
    return content


def _put(request: Request, fields: Mapping[str, list[str]]) -> Response:
    store, asker = store_of(request), asker_of(request)
    given = fields.get("token", [""])[0]
    if not secrets.compare_digest(given.encode(), request.app.state.token.encode()):
        raise HTTPException(403, "this form is of another server; load the page again")
    chosen = choose(request, store)
    if why_not := _why_not(chosen):
        raise Missing(why_not)
    place = _place(request, chosen, _scenes(chosen, store)[0], _evaluated(chosen, store))
    if place is None:
        raise Missing("no scene was prepared for this cell, so there is nothing to ask about")
    questions = _questions(fields, _samples(chosen, place, store), place)
    try:
        asker.put(place, questions)
    except Busy as error:
        raise HTTPException(429, str(error)) from error
    return RedirectResponse(url(PATH, **place.words()), 303)


def _questions(
    fields: Mapping[str, list[str]], samples: Sequence[Sample], place: Place
) -> list[Question]:
    """One of the cell's own, or those of the lines of a text."""
    if fields.get("sample"):
        sample = find_sample(samples, fields["sample"][0], place.scene)
        assert sample is not None
        why = f"as {sample.benchmark} of its run asks for it"
        return [Question(sample.prompt, sample.kind, sample, why)]
    kind = fields.get("kind", [""])[0]
    lines = [line.strip() for line in fields.get("question", [""])[0].splitlines() if line.strip()]
    if kind not in KINDS:
        raise HTTPException(422, f"no answer is given {kind!r}")
    if not lines:
        raise HTTPException(422, "nothing was asked: every line is empty")
    if len(lines) > MOST_AT_ONCE:
        raise HTTPException(422, f"{len(lines)} questions; ask at most {MOST_AT_ONCE} at once")
    longest = max(map(len, lines))
    if longest > LONGEST_QUESTION:
        raise HTTPException(
            422, f"a question has {longest} characters; it may have at most {LONGEST_QUESTION}"
        )
    return [_worded(line, kind) for line in lines]


def _worded(line: str, kind: str) -> Question:
    """A line of the form with the kind of its answer, and why it is of that."""
    if kind:
        return Question(line, "text" if kind == "text" else "ground", why="as the form says")
    begins = POINTING.match(line)
    found = f'"{begins[1]}"' if begins else f"none of {_LISTED}"
    return Question(line, kind_of(line), why=f"guessed, it begins with {found}")


def picture(request: Request) -> Response:
    """The chosen box of one answer, in frames that show it."""
    turn = asker_of(request).turn(number(request, "turn", 0))
    if turn is None or turn.picture is None:
        raise Missing("there is no such picture any more; ask again")
    return Response(turn.picture, media_type="image/png")
