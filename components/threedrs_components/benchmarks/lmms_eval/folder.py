"""Write benchmarks as tasks of lmms-eval: task files, documents, frames, and the scorers' code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.lmms_eval.readme import readme
from threedrs_components.benchmarks.lmms_eval.scoring_code import copy_scoring_code, name_in_copy
from threedrs_components.benchmarks.lmms_eval.task import TASK_NAME, TASKS_FILE, flat_metrics
from threedrs_components.benchmarks.sample_files import sample_json
from threedrs_components.benchmarks.scorer import TextMetric
from threedrs_components.benchmarks.text_answers import answer_in_words, question_in_words
from threedrs_components.benchmarks.text_scores import TEXT_METRICS
from threedrs_components.new_folder import new_folder
from threedrs_components.scenes.frame_files import write_frames
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample

TEXT_SCORES: tuple[TextMetric, ...] = tuple(name for name in TEXT_METRICS if name != "meteor")
"""METEOR's data are a package of their own, whose absence must not end a run of lmms-eval."""
_UTILS = '''\
"""What the task files beside it name. Written by `workflows export lmms-eval`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

from {package}.components.benchmarks.lmms_eval.task import exported_tasks  # noqa: E402

_tasks = exported_tasks(str(HERE))
doc_to_visual = _tasks.doc_to_visual
doc_to_text = _tasks.doc_to_text
process_results = _tasks.process_results
aggregate = _tasks.aggregate
{documents}
'''
_YAML = """\
task: {task}
tag: threedrs
dataset_path: json
dataset_kwargs:
  data_files:
    test: !function utils.{task}_documents
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: answer
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: {max_new_tokens}
  temperature: 0
  do_sample: false
lmms_eval_specific_kwargs:
  default:
    pre_prompt: ""
    post_prompt: ""
metric_list:
{metrics}
metadata:
  - version: 1.0
"""
_METRIC = """\
  - metric: {name}
    aggregation: !function utils.aggregate
    higher_is_better: true"""


def write_tasks(
    samples: Sequence[Sample],
    prepared: PreparedScenes,
    benchmarks: Sequence[Benchmark],
    out: Path,
    protocols: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Write a folder for lmms-eval's --include_path.

    Args:
        samples: evaluation samples of these benchmarks.
        prepared: their scenes.
        benchmarks: each becomes a task.
        out: the folder, new or empty.
        protocols: how a benchmark is scored, where it is not by its first protocol.

    Returns:
        What was written, by benchmark.

    Raises:
        ConfigError: the folder holds something.
        DataError: a benchmark has no sample.
        SceneError: a scene is not prepared.
    """
    with new_folder(out) as folder:
        frames = write_frames(prepared, (sample.scene_id for sample in samples), folder)
        package = copy_scoring_code([each.scorer.__module__ for each in benchmarks], folder)
        tasks = {}
        for each in benchmarks:
            own = [sample for sample in samples if sample.benchmark == each.kind]
            if not own:
                raise DataError(f"{each.kind}: no sample to export")
            protocol = (protocols or {}).get(each.kind, each.default_protocol)
            tasks[each.kind] = _write_task(each, own, frames, protocol, package, folder)
        (folder / TASKS_FILE).write_text(json.dumps(tasks, indent=1))
        (folder / "utils.py").write_text(_UTILS.format(package=package, documents=_places(tasks)))
        (folder / "README.md").write_text(readme(tasks, package))
    return tasks


def _places(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Where documents lie, told by the folder itself: it may be moved."""
    return "\n".join(
        f'{task["task"]}_documents = str(HERE / "{task["documents"]}")' for task in tasks.values()
    )


def _write_task(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    frames: Mapping[str, Sequence[str]],
    protocol: str,
    package: str,
    out: Path,
) -> dict[str, Any]:
    name = TASK_NAME.format(benchmark.kind)
    documents = f"{name}.jsonl"
    with (out / documents).open("w", encoding="utf-8") as lines:
        for sample in samples:
            document = document_of(sample, frames[sample.scene_id], one_box=benchmark.one_box)
            lines.write(json.dumps(document, ensure_ascii=False) + "\n")
    scorer = benchmark.scorer(protocol=protocol, text_metrics=TEXT_SCORES)
    # Nothing is predicted: only which metrics these samples have is asked.
    metrics = list(flat_metrics(scorer.evaluate(samples, [])))
    text = _YAML.format(
        task=name,
        max_new_tokens=benchmark.max_new_tokens,
        metrics="\n".join(_METRIC.format(name=json.dumps(each)) for each in metrics),
    )
    (out / f"{name}.yaml").write_text(text)
    return {
        "task": name,
        "documents": documents,
        "questions": len(samples),
        "scorer": f"{name_in_copy(type(scorer).__module__, package)}:{type(scorer).__name__}",
        "protocol": protocol,
        "text_metrics": TEXT_SCORES,
        "one_box": benchmark.one_box,
        "metrics": metrics,
    }


def document_of(sample: Sample, frames: Sequence[str], *, one_box: bool) -> dict[str, Any]:
    """One record of a task's data: what is shown and asked, and the sample it is scored by."""
    return {
        "id": sample.sample_id,
        "benchmark": sample.benchmark,
        "scene_id": sample.scene_id,
        "frames": list(frames),
        "question": question_in_words(sample, one_box=one_box),
        "answer": answer_in_words(sample),
        "one_box": one_box,
        # As text: Arrow would give all documents the tags of each other.
        "sample": sample_json(sample),
    }
