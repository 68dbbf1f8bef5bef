"""An exported folder as lmms-eval uses it, and its logs as `workflows score` does."""

import importlib.util
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from threedrs_components.benchmarks.annotation_sources import find_annotations
from threedrs_components.benchmarks.lmms_eval.folder import document_of, write_tasks
from threedrs_components.benchmarks.lmms_eval.task import flat_metrics
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.sample_files import sample_json
from threedrs_components.benchmarks.scoring import score
from threedrs_components.benchmarks.text_answers import boxes_in
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes, prepare_scene, write_prepared
from threedrs_components.scenes.videos.reader import colour_scene
from threedrs_platform.errors import AnnotationError, ConfigError, SceneError
from threedrs_platform.records import Sample

FIXTURES = Path(__file__).parent / "fixtures"
OURS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")


def samples_of(kind: str) -> list[Sample]:
    files = find_annotations(BENCHMARKS[kind](), [FIXTURES / kind], None, "val")
    return BENCHMARKS[kind].loader().samples_of(files, Wording(), "val")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder, moved after it was written."""
    root = tmp_path_factory.mktemp("lmms")
    (root / "prepared").mkdir()
    config = PrepareConfig(image_size=28, grid=2, num_frames=2)
    for number, name in enumerate(("s0", "s1")):
        pixels = np.full((2, 24, 32, 3), 100 * number, np.uint8)
        scene = colour_scene(name, ["0", "1"], pixels)
        write_prepared(prepare_scene(scene, None, config), root / "prepared")
    samples = [sample for kind in OURS for sample in samples_of(kind)]
    kinds = [BENCHMARKS[kind]() for kind in OURS]
    write_tasks(samples, PreparedScenes(root / "prepared"), kinds, root / "written")
    return (root / "written").rename(root / "tasks")


def function(folder: Path, name: str) -> Any:
    """What `!function utils.NAME` is to lmms-eval: the module is run anew for every name."""
    spec = importlib.util.spec_from_file_location("utils", folder / "utils.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name.removeprefix("utils."))


def load_task(folder: Path, kind: str) -> dict[str, Any]:
    """A task file as lmms-eval reads it."""

    class Loader(yaml.FullLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: function(folder, str(node.value)))
    text = (folder / f"threedrs_{kind}.yaml").read_text()
    task: dict[str, Any] = yaml.load(text, Loader)
    return task


def documents_of(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = Path(task["dataset_kwargs"]["data_files"]["test"])
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics_of(task: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, float]:
    """All metrics as lmms-eval makes them: per document first, then over all of them."""
    found: dict[str, list[Any]] = {}
    for document in documents_of(task):
        if document["id"] in answers:
            for name, item in task["process_results"](document, [answers[document["id"]]]).items():
                found.setdefault(name, []).append(item)
    listed = {each["metric"]: each["aggregation"] for each in task["metric_list"]}
    assert found.keys() == listed.keys() and all(e["higher_is_better"] for e in task["metric_list"])
    return {name: listed[name](items) for name, items in found.items()}


@pytest.mark.parametrize("kind", OURS)
def test_the_folder_gives_the_numbers_that_its_logs_are_scored_with(
    kind: str, tasks: Path, tmp_path: Path, without_meteor: None
) -> None:
    task = load_task(tasks, kind)
    documents = documents_of(task)
    answers = {
        document["id"]: document["answer"] if number % 2 == 0 else "I cannot tell."
        for number, document in enumerate(documents)
    }
    found = metrics_of(task, answers)
    log = tmp_path / "samples.jsonl"
    lines = [
        {
            "doc_id": number,
            "target": document["answer"],
            "filtered_resps": f" {answers[document['id']]}\n",
            **task["process_results"](document, [answers[document["id"]]]),
        }
        for number, document in enumerate(documents)
    ]
    log.write_text("\n".join(map(json.dumps, lines)))
    assert found == flat_metrics(score(kind, predictions=log))
    own = flat_metrics(score(kind, predictions=log, annotations=samples_of(kind)))
    assert found == own
    assert max(found.values()) > 0, "every other answer is right"


@pytest.mark.parametrize("kind", OURS)
def test_right_answers_have_full_marks(kind: str, tasks: Path) -> None:
    task = load_task(tasks, kind)
    found = metrics_of(task, {each["id"]: each["answer"] for each in documents_of(task)})
    # Captions of objects that nothing points at are empty, whatever the model writes.
    assert max(found.values()) >= (25 if kind == "scan2cap" else 100)


def test_models_see_the_frames_and_the_question(tasks: Path) -> None:
    task = load_task(tasks, "scanrefer")
    document = documents_of(task)[0]
    images = task["doc_to_visual"](document)
    assert [image.size for image in images] == [(28, 28)] * 2
    assert images[0].getpixel((0, 0)) == (0, 0, 0), "the pixels of its own scene"
    around = {"pre_prompt": "Look. ", "post_prompt": " Think."}
    text = task["doc_to_text"](document, around)
    assert text.startswith("Look. Identify the object") and text.endswith("metres. Think.")
    pointed = documents_of(load_task(tasks, "scan2cap"))[0]
    assert "located at [0.00, 0.00, 0.20, 1.00, 1.00, 1.00]" in pointed["question"]


def test_questions_that_were_not_asked_do_not_count(tasks: Path) -> None:
    task = load_task(tasks, "scanqa")
    first = documents_of(task)[0]
    assert metrics_of(task, {first["id"]: first["answer"]})["em@1"] == 100.0
    of_types = [each["metric"] for each in task["metric_list"] if each["metric"].count("/") == 1]
    found = metrics_of(task, {first["id"]: first["answer"]})
    assert any(math.isnan(found[name]) for name in of_types), "a type that nobody asked"


def test_it_needs_no_threedrs(tasks: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(tasks)!r}); import utils; "
        f"item = utils.process_results({documents_of(load_task(tasks, 'sqa3d'))[0]!r}, ['x']); "
        "ours = [n for n in sys.modules if n.startswith('threedrs_') and 'scoring' not in n]; "
        "print(utils.aggregate([item['em']]), ours)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.0 []"


def test_the_readme_names_the_tasks_and_what_they_lack(tasks: Path) -> None:
    text = (tasks / "README.md").read_text()
    assert "--tasks threedrs_scanrefer,threedrs_multi3drefer" in text and "METEOR" in text
    assert not re.findall(r"\{\w+\}", text)


def test_a_folder_that_holds_something_is_not_written_over(tasks: Path) -> None:
    with pytest.raises(ConfigError, match="holds something; name a new folder"):
        write_tasks([], PreparedScenes(tasks.parent / "prepared"), [], tasks)


def test_a_scene_that_is_not_prepared_is_named(tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    empty = PreparedScenes(tmp_path / "prepared")
    with pytest.raises(SceneError, match=r"s0.*was not prepared"):
        write_tasks(samples_of("scanqa"), empty, [BENCHMARKS["scanqa"]()], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"], "nothing half written"


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("[1, 2, 3, .5, 1e0, -6]", 1),
        ("It is at (1.0, 2, 3, 4, 5, 6).", 1),
        ("[[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7]]", 2),
        ("x 1 y 2 z 3, 4 by 5 by 6 m", 1),
        ("[1, 2, 3] and [4, 5, 6]", 1),
        ("[1, 2, 3, 4, 5]", 0),
        ("[1e9, 2, 3, 4, 5, 6]", 0),
        ("none", 0),
    ],
)
def test_boxes_are_found_in_words(text: str, boxes: int) -> None:
    assert len(boxes_in(text)) == boxes


def test_answers_without_a_box_are_told(tmp_path: Path, without_meteor: None) -> None:
    log = tmp_path / "samples.jsonl"
    lines = [
        {"doc_id": n, "doc": document_of(sample, [], one_box=True), "filtered_resps": ["none"]}
        for n, sample in enumerate(samples_of("scanrefer"))
    ]
    log.write_text("\n".join(map(json.dumps, lines)))
    (unread,) = score("scanrefer", predictions=log).unread
    assert (unread.count, unread.of) == (5, 5) and "six numbers in brackets" in unread.reason
    # The same word answers a question about any number of objects.
    samples = samples_of("multi3drefer")
    lines = [
        {"doc_id": n, "doc": document_of(sample, [], one_box=False), "filtered_resps": ["none"]}
        for n, sample in enumerate(samples)
    ]
    log.write_text("\n".join(map(json.dumps, lines)))
    assert not score("multi3drefer", predictions=log).unread


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample": "{}"}, "record 0: sample_id: Field required"),
        ({"sample": None}, "record 0: record: Input should be"),
        ({}, "record 0: doc: is of scanqa; `workflows score scanqa` scores it"),
    ],
)
def test_logs_of_something_else_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    document = document_of(samples_of("scanqa")[0], [], one_box=False) | change
    log = tmp_path / "samples.jsonl"
    log.write_text(json.dumps({"doc_id": 0, "doc": document, "filtered_resps": ["x"]}))
    with pytest.raises(AnnotationError, match=re.escape(message)):
        score("scanqa" if change else "sqa3d", predictions=log)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("scanqa", {"answers": ()}, "answers: is empty; at least one reference belongs here"),
        ("scanrefer", {"target_boxes": ()}, "target_boxes: is empty; the box to find belongs here"),
        ("multi3drefer", {"target_boxes": ((1.0, 2.0),)}, "a box is 6 finite numbers"),
        ("vsibench", {"tags": {}}, "tags.options: is ''; a question with options says how many"),
        ("vsibench", {"question_type": "x"}, "question_type: is 'x'; vsibench has "),
        ("mindcube", {"tags": {"options": "40"}}, "tags.options: is '40'"),
        ("scanqa", {"sample_id": "same"}, "id: 'same' occurs twice"),
    ],
)
def test_samples_of_a_log_without_a_truth_are_named(
    kind: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """With the file: the truth is the log's own."""
    lines = [
        document_of(each, [], one_box=True) | {"sample": sample_json(replace(each, **change))}
        for each in samples_of(kind)
    ]
    log = tmp_path / "samples.json"
    log.write_text(
        json.dumps([{"doc_id": 0, "doc": each, "filtered_resps": ["A"]} for each in lines])
    )
    with pytest.raises(AnnotationError, match=re.escape(message)) as caught:
        score(kind, predictions=log)
    assert str(caught.value).startswith(f"{log}: record ")


def test_copies_of_other_code_have_other_names(tasks: Path, tmp_path: Path) -> None:
    """lmms-eval loads both into one process."""
    prepared, kinds = PreparedScenes(tasks.parent / "prepared"), [BENCHMARKS["scanqa"]()]
    names = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_tasks(samples_of("scanqa"), prepared, kinds, folder, {"scanqa": "leo"})
        names += [path.name for path in folder.glob("threedrs_scoring_*")]
    assert names[0] == names[1] and len(names) == 2
    assert not (tasks / names[0]).exists(), "fewer scorers are other code"
    assert json.loads((tmp_path / "a/tasks.json").read_text())["scanqa"]["protocol"] == "leo"


def test_no_frame_leads_out_of_the_folder(tasks: Path) -> None:
    task = load_task(tasks, "scanrefer")
    document = documents_of(task)[0]
    (tasks.parent / "outside.png").write_bytes((tasks / document["frames"][0]).read_bytes())
    for name in ("../outside.png", str(tasks.parent / "outside.png")):
        with pytest.raises(ValueError, match="leads out of its folder"):
            task["doc_to_visual"](document | {"frames": [name]})


def test_a_link_to_an_empty_folder_is_written_through(tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    prepared = PreparedScenes(tasks.parent / "prepared")
    write_tasks(samples_of("sqa3d"), prepared, [BENCHMARKS["sqa3d"]()], tmp_path / "out")
    assert (tmp_path / "disk/threedrs_sqa3d.yaml").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "out"}
