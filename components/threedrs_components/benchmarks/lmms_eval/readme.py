"""The README of a folder that was exported for lmms-eval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = """\
# Tasks for lmms-eval

Written by `workflows export lmms-eval` of threedrs. The folder may be moved as a whole.

```bash
python -m lmms_eval --include_path THIS_FOLDER --tasks {tasks} --log_samples \\
    --output_path logs --model ... --model_args ...
workflows score {benchmark} --predictions logs/.../DATE_samples_{task}.jsonl
```

| task | questions | protocol | metrics |
|---|---|---|---|
{rows}

**Without threedrs** the tasks load and score: the scorers' own source lies in `{package}/` and
needs Python 3.11, numpy, pydantic and Pillow, which lmms-eval brings. Values are percent, CIDEr x
100, as `workflows score` prints them; `<metric>/<type>` is of one type of question. With --limit
the metrics are of the questions that were asked; CIDEr, whose weights are of the whole set, is then
not that of the benchmark.

**Only `workflows score`** gives METEOR, intervals, chance and majority, other protocols
(`--protocol`), and answers that could not be read one by one. A line of a log carries the sample it
is about, so no annotations are needed; with `--annotations` it is held against these.

**What models get**: the frames of the scene as the prepared scenes hold them (`frames/`), in order,
and the question. No depth, no cameras. Where a benchmark asks for boxes the question ends with the
form of a box in the scene's own metres, which frames alone do not tell: a model without 3D input
scores near 0 there, and that is no fault of the task. A model with 3D input finds its scene by
`doc["scene_id"]`. Scan2Cap's object is pointed at by its box in words, and the caption counts as
one about that box; where no proposal lies near the object, the answer is the empty caption, as in a
grid.
"""


def readme(tasks: Mapping[str, Mapping[str, Any]], package: str) -> str:
    """The file's text.

    Args:
        tasks: what was written, by benchmark.
        package: name of the scorers' copy.
    """
    rows = [
        f"| {each['task']} | {each['questions']} | {each['protocol']} "
        f"| {', '.join(name for name in each['metrics'] if '/' not in name)} |"
        for each in tasks.values()
    ]
    benchmark, first = next(iter(tasks.items()))
    return _TEXT.format(
        tasks=",".join(each["task"] for each in tasks.values()),
        benchmark=benchmark,
        task=first["task"],
        rows="\n".join(rows),
        package=package,
    )
