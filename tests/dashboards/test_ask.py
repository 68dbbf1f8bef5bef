"""Questions on the page: answered as the cell's run answered them, and refused with the reason."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.models.asking import ask, ask_again
from threedrs_components.models.scenes import scene_of_run
from threedrs_dashboards.app import create_app
from threedrs_dashboards.ask.asker import PATIENCE_S, Asker, Busy, Question, Stage
from threedrs_dashboards.ask.opening import Opening
from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.ask.rooms import find_rooms, list_rooms
from threedrs_dashboards.store import Store
from threedrs_platform.errors import CheckpointError
from threedrs_platform.records import Prediction, Sample
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


def test_a_folder_below_the_root_is_asked_about_and_no_other(
    client: TestClient, rooms: Path
) -> None:
    assert [*list_rooms(rooms)] == ["mine/attic"]
    for foreign in ("link", "../", "/etc", f"{rooms}/mine/attic", "mine/../../x", "mine"):
        refused = put(client, f"room={foreign}", question="what color is the bed")
        assert refused.status_code == 404 and "no scene folder" in refused.text
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
    """Opens nothing until it may, and then fails."""

    def __init__(self) -> None:
        self.may, self.opened = threading.Event(), 0

    def model(self, place: Place) -> None:
        self.may.wait(SECONDS)
        self.opened += 1
        raise CheckpointError("no weights here")

    def opened_scene(self, place: Place) -> None:
        return None


def test_questions_wait_their_turn_and_give_up() -> None:
    now, opening = [0.0], SlowOpening()
    asker = Asker(opening, lambda: now[0])  # type: ignore[arg-type]
    place, other = Place("r", "c", 1, "s"), Place("r", "c", 2, "s")
    one = [Question("what", "text")]
    [first] = asker.put(place, one)
    [late] = asker.put(other, one)
    while first.stage is Stage.WAITING:
        threading.Event().wait(0.01)
    assert (first.stage, late.stage) == (Stage.LOADING, Stage.WAITING)
    with pytest.raises(Busy, match="2 questions wait"):
        asker.put(place, one * 19)
    now[0] = PATIENCE_S + 1
    assert asker.turns(place)[0].stage is Stage.FAILED
    assert "no answer within" in asker.turns(place)[0].why_failed
    opening.may.set()
    asker.wait(SECONDS)
    assert late.stage is Stage.FAILED and late.why_failed == "no weights here"
    assert asker.turn(first.number) is first and "no answer within" in first.why_failed
