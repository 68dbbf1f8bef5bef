"""lmms-eval itself, from PyPI, over exported tasks: its numbers beside those of `workflows score`.

    python3 -m venv /tmp/lmms && /tmp/lmms/bin/pip install torch==2.13.0 lmms-eval "filelock<3.20"
    /tmp/lmms/bin/pip uninstall -y torchvision    # where torch is its CPU build, which has none
    python tests/bench/lmms_eval_run.py --python /tmp/lmms/bin/python

threedrs is not installed there. A scripted model answers from a table: every other answer is right.
Then the letters that its tasks of MindCube and others find in random texts, beside those that ours
find. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from threedrs_components.benchmarks.choice_scores import ChoiceScorer
from threedrs_components.benchmarks.lmms_eval.folder import TEXT_SCORES
from threedrs_components.benchmarks.lmms_eval.task import flat_metrics
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scoring import score
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, write_prepared
from threedrs_components.scenes.videos.reader import colour_scene
from threedrs_workflows.cli import main as workflows

FIXTURES = Path(__file__).parents[1] / "components/benchmarks/fixtures"
OURS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
CHOICES = {
    "mindcube": "ABCDE",
    "viewspatial": "ABCD",
    "embspatial": "ABCDEF",
    "blink": "ABCD",
    "mmsi": "ABCDEF",
}
"""Letters of the options, as many as lmms-eval knows."""
MODEL = '''\
import json

from lmms_eval.api.model import lmms
from lmms_eval.api.registry import register_model


@register_model("scripted")
class Scripted(lmms):
    """Answers from a table, after it has looked at every picture."""

    def __init__(self, table, **kwargs):
        super().__init__()
        self.answers = json.load(open(table))

    def generate_until(self, requests):
        found = []
        for request in requests:
            context, _, doc_to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            assert context == doc["question"], context
            assert [image.size for image in doc_to_visual(doc)] == [(28, 28)] * 2
            found.append(self.answers[doc["id"]])
        return found

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError
'''

LETTERS = """\
import json

from lmms_eval.tasks.blink.utils import _extract_answer_letter as blink
from lmms_eval.tasks.embspatial.utils import _extract_answer_letter as embspatial
from lmms_eval.tasks.mindcube.utils import extract_answer as mindcube
from lmms_eval.tasks.mmsi_bench.utils import extract_single_choice_with_word_boundary as judged
from lmms_eval.tasks.viewspatial.utils import extract_option as viewspatial

found = [
    {
        "mindcube": mindcube(text) or "",
        "viewspatial": viewspatial(text.split("\\n")[-1]) or "",
        "embspatial": embspatial(text),
        "blink": blink(text, "ABCD"),
        "mmsi": "".join(letter for letter in "ABCDEF" if judged(text, letter) == 1.0),
    }
    for text in json.load(open("texts.json"))
]
json.dump(found, open("letters.json", "w"))
"""
"""Where lmms-eval finds letters; its MMSI-Bench only tells whether a given one is right."""
PIECES = (
    *("A", "B", "C", "D", "E", "F", "a", "b", "the", "The answer is", "answer: ", "Answer:", "(B)"),
    *("(c)", "A.", "D.", "B. left", "``C``", "`D`", "{A}", "\n", "my answer is B", " is ", "I"),
    *(
        "<Answer>",
        "</Answer>",
        "front",
        " ",
        "Option C",
        '"B"',
        "*A*",
        "answers",
        "(",
        ")",
        ",",
        ":",
    ),
    *("right", "", "correct answer is (D)", "A chair"),
)


def compare_letters(python: str, root: Path) -> int:
    """Print how many of 6,000 texts both read alike, by kind; 1 if one is not."""
    draw = random.Random(1)
    texts = [
        "".join(draw.choice(PIECES) + draw.choice((" ", "")) for _ in range(draw.randrange(7)))
        for _ in range(6000)
    ]
    texts = [text.strip() for text in texts]
    (root / "texts.json").write_text(json.dumps(texts))
    (root / "letters.py").write_text(LETTERS)
    environment = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "letters.py"], env=environment, check=True, cwd=root)
    theirs = json.loads((root / "letters.json").read_text())
    differ = 0
    for kind, options in CHOICES.items():
        scorer = BENCHMARKS[kind].scorer
        assert issubclass(scorer, ChoiceScorer)
        ours = [scorer.published_letter(text, options) for text in texts]
        known = [row[kind] if row[kind] in options else "" for row in theirs]
        wrong = sum(a != b for a, b in zip(ours, known, strict=True))
        print(f"{kind:13} {len(texts) - wrong} of {len(texts)} texts have the letter of lmms-eval")
        differ += wrong
    return int(differ > 0)


def main() -> int:
    """Export, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of an environment with lmms-eval")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        export(root)
        run(args.python, root)
        return max(compare(root), compare_letters(args.python, root))


def export(root: Path) -> None:
    """The five benchmarks of the tests' two scenes, as a folder that is then moved."""
    (root / "prepared").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (2, 24, 32, 3)).astype(np.uint8)
    for name in ("s0", "s1"):
        scene = colour_scene(name, ["0", "1"], pixels)
        config = PrepareConfig(image_size=28, grid=2, num_frames=2)
        write_prepared(prepare_scene(scene, None, config), root / "prepared")
    for kind in OURS:
        shutil.copytree(FIXTURES / kind, root / "data", dirs_exist_ok=True)
    places = ["--prepared", str(root / "prepared"), "--annotations", str(root / "data")]
    written = ["--benchmarks", *OURS, "--out", str(root / "written")]
    assert workflows(["export", "lmms-eval", *places, *written]) == 0
    (root / "written").rename(root / "tasks")
    answers: dict[str, str] = {}
    for kind in OURS:
        lines = (root / f"tasks/threedrs_{kind}.jsonl").read_text().splitlines()
        for number, document in enumerate(map(json.loads, lines)):
            right = number % 2 == 0
            answers[document["id"]] = f" {document['answer']}" if right else "I cannot tell."
    (root / "answers.json").write_text(json.dumps(answers))


def run(python: str, root: Path) -> None:
    """lmms-eval as people start it, with a model of its own plugins."""
    plugin = root / "plugins/scripted_plugin/models"
    plugin.mkdir(parents=True)
    (plugin.parent / "tasks").mkdir()
    for package in (plugin.parent, plugin.parent / "tasks"):
        (package / "__init__.py").touch()
    (plugin / "__init__.py").write_text('AVAILABLE_MODELS = {"scripted": "Scripted"}\n')
    (plugin / "scripted.py").write_text(MODEL)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "plugins"),
        "LMMS_EVAL_PLUGINS": "scripted_plugin",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(root / "hub"),
    }
    command = [
        python, "-m", "lmms_eval", "--model", "scripted",
        "--model_args", f"table={root / 'answers.json'}",
        "--include_path", str(root / "tasks"),
        "--tasks", ",".join(f"threedrs_{kind}" for kind in OURS),
        "--log_samples", "--output_path", str(root / "logs"), "--batch_size", "1",
    ]  # fmt: skip
    subprocess.run(command, env=environment, check=True, cwd=root)


def compare(root: Path) -> int:
    """Print both numbers of every metric; 1 if a pair differs."""
    [found] = (root / "logs").rglob("*_results.json")
    results: dict[str, dict[str, Any]] = json.loads(found.read_text())["results"]
    differ = 0
    for kind in OURS:
        [log] = (root / "logs").rglob(f"*samples_threedrs_{kind}.jsonl")
        ours = flat_metrics(score(kind, predictions=log))
        theirs = {
            name.partition(",")[0]: value
            for name, value in results[f"threedrs_{kind}"].items()
            if name.endswith(",none") and "_stderr" not in name and isinstance(value, float)
        }
        compared = [name for name in ours if not name.startswith("meteor")]
        assert set(compared) == set(theirs), set(compared) ^ set(theirs)
        for name in compared:
            same = ours[name] == theirs[name]
            differ += not same
            sign = "=" if same else "DIFFERS FROM"
            print(f"{kind:13} {name:22} lmms-eval {theirs[name]:.6f} {sign} ours {ours[name]:.6f}")
    print(f"{differ} numbers differ; text scores compared: {', '.join(TEXT_SCORES)}")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
