"""Questions on the page: answered as the cell's run answered them, and refused with the reason."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.models.asking import ask, ask_again
from threedrs_components.models.scenes import scene_of_run
from threedrs_dashboards.app import create_app
from threedrs_dashboards.ask.asker import (
    KEPT_PICTURES,
    PATIENCE_S,
    Asker,
    Busy,
    Question,
    Stage,
    Turn,
)
from threedrs_dashboards.ask.handlers import LONGEST_QUESTION, MOST_AT_ONCE, _questions
from threedrs_dashboards.ask.opening import Opening, Seen
from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.ask.rooms import find_rooms, list_rooms
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.cells import view_cells
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.database.measurements import StepSummary
from threedrs_platform.errors import CheckpointError
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.testing.tiny_cell import SCENE

LOCAL = "http://127.0.0.1:8365"
SECONDS = 120.0


@pytest.fixture(scope="module")
def rooms(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scene of the world, and a link that leads out of it."""
    root = tmp_path_factory.mktemp("rooms")
    with find_workspace(str(trained), environment={}) as workspace:
        place = place_of(Store(workspace))
        steps = Opening(Store(workspace), None).model(place).steps
        world = steps.folder("scenes") / "scenes"
        shutil.copytree(world / SCENE, root / "mine" / "attic")
        outside = tmp_path_factory.mktemp("outside")
        shutil.copytree(world / SCENE, outside / "secret")
        (root / "link").symlink_to(outside / "secret")
    return root


@pytest.fixture(scope="module")
def client(trained: Path, rooms: Path) -> Iterator[TestClient]:
    app = create_app(find_workspace(str(trained), environment={}), rooms=rooms)
    yield TestClient(app, LOCAL, follow_redirects=False)
    app.state.store.close()


def place_of(store: Store, **words: Any) -> Place:
    """The one cell of the workspace, and a scene."""
    run = store.run(None)
    [cell] = store.results.run_results(run.run_id).cells
    return Place(run.run_id, cell.cell_id, cell.seed, **(words or {"scene": SCENE}))


def token(client: TestClient) -> str:
    found = re.search(r'name="token" value="([^"]+)"', client.get("/ask").text)
    assert found is not None
    return found[1]


def put(client: TestClient, place: str, **fields: str) -> Any:
    return client.post(f"/ask/question?{place}", data={"token": token(client), **fields})


def answered(client: TestClient, address: str) -> str:
    """The page when nothing waits any more."""
    client.app.state.asker.wait(SECONDS)  # type: ignore[attr-defined]
    return client.get(address).text


def firsts(store: Store, kind: str) -> tuple[Sample, Prediction]:
    """A question of the run about the scene, and what it answered."""
    steps = Opening(store, None).model(place_of(store)).steps
    samples = read_samples(steps.folder("samples") / "evaluation.jsonl")
    sample = next(each for each in samples if (each.scene_id, each.kind) == (SCENE, kind))
    answers = read_predictions(steps.folder("predict") / "predictions.jsonl")
    return sample, next(each for each in answers if each.sample_id == sample.sample_id)


@pytest.mark.parametrize("kind", ["text", "ground"])
def test_the_page_answers_as_the_run_did(client: TestClient, kind: str) -> None:
    store = client.app.state.store  # type: ignore[attr-defined]
    sample, given = firsts(store, kind)
    answer = put(client, f"scene={SCENE}", sample=sample.sample_id)
    assert answer.status_code == 303
    page = answered(client, answer.headers["Location"])
    turn = client.app.state.asker.turns(place_of(store))[0]  # type: ignore[attr-defined]
    assert turn.stage is Stage.ANSWERED, turn.why_failed
    assert turn.answer.prediction.text == given.text
    assert turn.answer.prediction.boxes == given.boxes
    assert turn.answer.prediction.scores == pytest.approx(given.scores, abs=1e-5)
    assert "In its run" in page and "loading the student" in page
    if turn.picture is not None:
        shown = client.get(f"/ask/picture.png?turn={turn.number}")
        assert shown.headers["Content-Type"] == "image/png" and shown.content == turn.picture


def test_every_answer_of_the_run_comes_again_and_prefixes_are_remembered(trained: Path) -> None:
    with find_workspace(str(trained), environment={}) as workspace:
        store = Store(workspace)
        model = Opening(store, None).model(place_of(store))
        scene = scene_of_run(model.steps, SCENE, print)
        every = read_samples(model.steps.folder("samples") / "evaluation.jsonl")
        samples = [each for each in every if each.scene_id == SCENE]
        given = read_predictions(model.steps.folder("predict") / "predictions.jsonl")
        answers = {each.sample_id: each for each in given}
        for answer, sample in zip(
            ask_again(model.recipe, model.student, scene, samples), samples, strict=True
        ):
            before, now = answers[sample.sample_id], answer.prediction
            assert now is not None and now.text == before.text and now.boxes == before.boxes
            assert now.scores == pytest.approx(before.scores, abs=1e-5)
        asked = next(each for each in samples if each.kind == "text")
        watched: Any = model.student
        prefixes = watched.runs
        [again] = ask(model.recipe, model.student, scene, [(asked.prompt, "text")])
        assert again.text == (answers[asked.sample_id].text or "").strip()
        assert watched.runs == prefixes


def test_questions_of_one_form_share_the_frames(client: TestClient) -> None:
    answer = put(client, f"scene={SCENE}", question="what color is the bed\n\nfind the lamp\n")
    page = answered(client, answer.headers["Location"])
    store = client.app.state.store  # type: ignore[attr-defined]
    newest = client.app.state.asker.turns(place_of(store))[:2]  # type: ignore[attr-defined]
    assert [(each.question.kind, each.shared) for each in newest] == [("ground", 2), ("text", 2)]
    assert "for 2 questions together" in page and 'data-live="0"' in page
    assert 'id="chart-room"' in page and "what color is the bed" in page
    assert "Asked for a box: guessed, it begins with &#34;find&#34;" in page
    assert "Asked for words: guessed, it begins with none of" in page


@pytest.mark.parametrize(
    ("line", "kind", "wanted", "why"),
    [
        ("Find  the lamp", "", "ground", 'guessed, it begins with "Find"'),
        ("what is found here", "", "text", 'guessed, it begins with none of "point at"'),
        ("find the lamp", "text", "text", "as the form says"),
        ("the lamp", "ground", "ground", "as the form says"),
    ],
)
def test_answers_tell_why_they_are_a_box(line: str, kind: str, wanted: str, why: str) -> None:
    (question,) = _questions({"question": [line], "kind": [kind]}, (), Place("r", "c", 1, "s"))
    assert question.kind == wanted and question.why.startswith(why)


def test_a_folder_below_the_root_is_asked_about_and_no_other(
    client: TestClient, rooms: Path
) -> None:
    assert [*list_rooms(rooms)] == ["mine/attic"]
    for foreign in ("link", "../", "/etc", f"{rooms}/mine/attic", "mine/../../x", "mine"):
        refused = put(client, f"room={foreign}", question="what color is the bed")
        assert refused.status_code == 404 and "no scene folder" in refused.text
    page = client.get("/ask?about=room%3Dmine%2Fattic&scene=ignored").text
    assert 'value="room=mine/attic" selected' in page and 'name="about"' in page
    assert f'value="scene={SCENE}" selected' in client.get(f"/ask?about=scene%3D{SCENE}").text
    answer = put(client, "room=mine/attic", question="what color is the bed")
    assert "what color is the bed" in answered(client, answer.headers["Location"])
    place = place_of(client.app.state.store, room="mine/attic")  # type: ignore[attr-defined]
    turn = client.app.state.asker.turns(place)[0]  # type: ignore[attr-defined]
    assert turn.stage is Stage.ANSWERED, turn.why_failed


def test_what_cannot_be_read_is_no_room_and_spoils_no_page(
    client: TestClient, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = rooms / "closed"
    closed.mkdir()

    def refusing(read: Any) -> Any:
        def refuse(folder: Any) -> Any:
            if Path(folder) == closed:
                raise PermissionError(13, "Permission denied", str(folder))
            return read(folder)

        return refuse

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    assert [*find_rooms(rooms)] == ["mine/attic"]
    assert client.get("/ask").status_code == 200


def test_no_more_folders_are_looked_into_than_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not scenes, what links out lead to, nor what lies below the last level; and once a while."""
    (tmp_path / "outside" / "below").mkdir(parents=True)
    root = tmp_path / "rooms"
    (root / "house" / "hall" / "cellar").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "scene" / "color").mkdir(parents=True)
    (root / "scene" / "color" / "0.jpg").touch()
    looked_into: list[str] = []
    scan = os.scandir

    def watched(folder: Path) -> Any:
        looked_into.append(Path(folder).name)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", watched)
    assert [*find_rooms(root)] == ["scene"]
    assert looked_into == ["rooms", "house"]
    monkeypatch.setattr("threedrs_dashboards.ask.rooms.time.monotonic", lambda: 1e6)
    for _ in range(3):
        assert [*list_rooms(root)] == ["scene"]
    assert len(looked_into) == 4


def test_a_cell_whose_finetuning_goes_on_cannot_be_asked(tmp_path: Path) -> None:
    steps = (
        StepSummary("pretrain", "a", "pretrain", StepState.SUCCEEDED, "0" * 64),
        StepSummary("finetune", "b", "finetune", StepState.RUNNING),
    )
    with find_workspace(str(tmp_path), environment={}) as workspace:
        results = fake_results({"cell": {1: {}}})
        [cell] = results.cells
        store_run(workspace.database, replace(results, cells=(replace(cell, steps=steps),)))
        run_id = results.run.run_id
        [viewed] = view_cells(workspace.database, run_id, [(cell.cell_id, cell.seed)])
    assert viewed.student_role == "finetune" and "pretrain" in viewed.digests
    with pytest.raises(Missing, match="no finished step 'finetune'"):
        viewed.folder(viewed.student_role, workspace.store)


def test_without_a_root_no_folder_is_asked_about(trained: Path) -> None:
    app = create_app(find_workspace(str(trained), environment={}))
    refused = TestClient(app, LOCAL).get("/ask?room=mine/attic")
    assert refused.status_code == 404 and "--rooms" in refused.text
    app.state.store.close()


def test_what_cannot_be_asked_is_refused_with_the_reason(client: TestClient) -> None:
    def refused(place: str = f"scene={SCENE}", **fields: str) -> tuple[int, str]:
        answer = put(client, place, **fields)
        return answer.status_code, answer.text

    status, told = refused(question="x" * 501)
    assert status == 422 and "501 characters" in told
    status, told = refused(question="\n".join(["what"] * 21))
    assert status == 422 and "21 questions" in told
    assert refused(question="  \n ")[0] == 422
    assert refused(question="what", kind="song")[0] == 422
    assert refused("cell=bose", question="what")[0] == 404
    assert refused("scene=val0000", question="what")[0] == 404
    assert refused("seed=7", question="what")[0] == 404
    assert refused(sample="nobody")[0] == 404
    assert refused(question="x" * (1 << 17))[0] == 413
    assert refused(**{f"more{number}": "x" for number in range(101)})[0] == 422
    longest = "\n".join(["\U0001f6cb" * LONGEST_QUESTION] * MOST_AT_ONCE)
    assert refused(question=longest, kind="song")[0] == 422, "as many as are taken fit into a form"


def test_forms_from_elsewhere_are_refused(client: TestClient) -> None:
    form = {"token": token(client), "question": "what color is the bed"}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9000"},
    ):
        assert client.post("/ask/question", data=form, headers=headers).status_code == 403
    for wrong in ("", "guess"):
        answer = client.post("/ask/question", data={**form, "token": wrong})
        assert answer.status_code == 403 and "another server" in answer.text
    assert client.post("/ask", data=form).status_code == 405
    assert client.get("/ask/question").status_code == 405


def test_a_student_with_fusion_needs_stored_features(trained: Path) -> None:
    with find_workspace(str(trained), environment={}) as workspace:
        store = Store(workspace)
        model = Opening(store, None).model(place_of(store))
        scene = scene_of_run(model.steps, SCENE, print)

        class Fused:
            fusion = object()

        with pytest.raises(CheckpointError, match=r"fusion.*step extract has stored"):
            ask(model.recipe, Fused(), scene, [("what", "text")])  # type: ignore[arg-type]


class SlowOpening:
    """Opens nothing until it may, and then fails, or opens a model without any weights."""

    def __init__(self, why_not: str = "no weights here") -> None:
        self.may, self.why_not = threading.Event(), why_not
        self.opened, self.read = list[Place](), list[Place]()

    def model(self, place: Place) -> None:
        self.may.wait(SECONDS)
        self.opened.append(place)
        if self.why_not:
            raise CheckpointError(self.why_not)

    def scene(self, place: Place, model: None) -> None:
        self.read.append(place)

    def opened_scene(self, place: Place) -> None:
        return None


def test_questions_wait_their_turn_and_give_up() -> None:
    now, opening = [0.0], SlowOpening()
    asker = Asker(opening, lambda: now[0])  # type: ignore[arg-type]
    place, other, unasked = (Place("r", "c", seed, "s") for seed in (1, 2, 3))
    one = [Question("what", "text")]
    [first] = asker.put(place, one)
    [late] = asker.put(other, one)
    [dropped] = asker.put(unasked, one)
    while first.stage is Stage.WAITING:
        threading.Event().wait(0.01)
    assert (first.stage, late.stage) == (Stage.LOADING, Stage.WAITING)
    with pytest.raises(Busy, match="3 questions wait"):
        asker.put(place, one * 18)
    now[0] = PATIENCE_S + 1
    assert asker.turns(place)[0].stage is Stage.FAILED
    assert "no answer within" in asker.turns(place)[0].why_failed
    assert asker.turns(unasked) == (dropped,) and dropped.stage is Stage.FAILED
    opening.may.set()
    asker.wait(SECONDS)
    assert late.stage is Stage.FAILED and late.why_failed == "no weights here"
    assert asker.turn(first.number) is first and "no answer within" in first.why_failed
    assert opening.opened == [place, other], "for nobody who still waits, nothing is opened"


def test_no_scene_is_read_for_who_gave_up_while_the_student_was_opened() -> None:
    now, opening = [0.0], SlowOpening(why_not="")
    asker = Asker(opening, lambda: now[0])  # type: ignore[arg-type]
    place = Place("r", "c", 1, "s")
    [turn] = asker.put(place, [Question("what", "text")])
    now[0] = PATIENCE_S + 1
    while turn.stage is Stage.WAITING:
        threading.Event().wait(0.01)
    assert asker.turns(place) == (turn,) and turn.stage is Stage.FAILED
    opening.may.set()
    asker.wait(SECONDS)
    assert (opening.opened, opening.read, turn.stage) == ([place], [], Stage.FAILED)


def test_only_the_newest_pictures_are_kept() -> None:
    asker = Asker(SlowOpening())  # type: ignore[arg-type]
    turns = [Turn(number, Question("where", "ground"), 0.0) for number in range(KEPT_PICTURES + 2)]
    for turn in turns:
        asker._keep(turn, b"png")
    assert [each.number for each in turns if each.picture is None] == [0, 1]
    assert [each.number for each in turns if each.is_picture_dropped] == [0, 1]


def test_students_are_closed_when_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threedrs_dashboards.ask.asker.IDLE_S", 0.0)
    opening, closed = SlowOpening(), threading.Event()
    opening.close_models = closed.set  # type: ignore[attr-defined]
    opening.may.set()
    Asker(opening).put(Place("r", "c", 1, "s"), [Question("what", "text")])  # type: ignore[arg-type]
    assert closed.wait(SECONDS)


def test_a_room_is_read_anew_when_its_files_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = tmp_path / "attic"
    scene.mkdir()
    (scene / "00000.jpg").touch()
    opening, place = Opening(None, tmp_path), Place("r", "c", 1, room="attic")  # type: ignore[arg-type]
    monkeypatch.setattr(Opening, "_open_scene", lambda _, __, ___, state: Seen(object(), [], state))  # type: ignore[arg-type]
    model: Any = None
    first = opening.scene(place, model)
    assert opening.scene(place, model) is first
    (scene / "00000.txt").touch()
    second = opening.scene(place, model)
    assert second is not first and opening.opened_scene(place) is second
    os.utime(scene / "00000.txt", ns=(1, 2**62))
    assert opening.scene(place, model) is not second
