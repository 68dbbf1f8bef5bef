"""lmms-eval itself, from PyPI, over exported tasks: its numbers beside those of `workflows score`.

    python3 -m venv /tmp/lmms && /tmp/lmms/bin/pip install lmms-eval "filelock<3.20"
    python tests/bench/lmms_eval_run.py --python /tmp/lmms/bin/python

threedrs is not installed there. A scripted model answers from a table: every other answer is right.
Exit code 1 where a number differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from threedrs_components.benchmarks.lmms_eval.folder import TEXT_SCORES
from threedrs_components.benchmarks.lmms_eval.task import flat_metrics
from threedrs_components.benchmarks.scoring import score
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, write_prepared
from threedrs_components.scenes.videos.reader import colour_scene
from threedrs_workflows.cli import main as workflows

FIXTURES = Path(__file__).parents[1] / "components/benchmarks/fixtures"
BENCHMARKS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
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


def main() -> int:
    """Export, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of an environment with lmms-eval")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        export(root)
        run(args.python, root)
        return compare(root)


def export(root: Path) -> None:
    """The five benchmarks of the tests' two scenes, as a folder that is then moved."""
    (root / "prepared").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (2, 24, 32, 3)).astype(np.uint8)
    for name in ("s0", "s1"):
        scene = colour_scene(name, ["0", "1"], pixels)
        config = PrepareConfig(image_size=28, grid=2, num_frames=2)
        write_prepared(prepare_scene(scene, None, config), root / "prepared")
    for kind in BENCHMARKS:
        shutil.copytree(FIXTURES / kind, root / "data", dirs_exist_ok=True)
    places = ["--prepared", str(root / "prepared"), "--annotations", str(root / "data")]
    written = ["--benchmarks", *BENCHMARKS, "--out", str(root / "written")]
    assert workflows(["export", "lmms-eval", *places, *written]) == 0
    (root / "written").rename(root / "tasks")
    answers: dict[str, str] = {}
    for kind in BENCHMARKS:
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
        "--tasks", ",".join(f"threedrs_{kind}" for kind in BENCHMARKS),
        "--log_samples", "--output_path", str(root / "logs"), "--batch_size", "1",
    ]  # fmt: skip
    subprocess.run(command, env=environment, check=True, cwd=root)


def compare(root: Path) -> int:
    """Print both numbers of every metric; 1 if a pair differs."""
    [found] = (root / "logs").rglob("*_results.json")
    results: dict[str, dict[str, Any]] = json.loads(found.read_text())["results"]
    differ = 0
    for kind in BENCHMARKS:
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
