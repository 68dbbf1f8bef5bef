"""A training that costs nothing, for tests of tuning: a module of its own, as real steps have.

It draws the validation loss on its way, leaves a line in the ledger behind the first point, and
measures how near its settings are to weight 2 and layer 1.
"""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path

from threedrs_platform.errors import StepFailed
from threedrs_platform.records import Metric
from threedrs_platform.sealed import keep_sound, write_sealed
from threedrs_platform.steps import StepTask

POINTS = 10
"""Of the curve; the training can be killed, and goes on behind the last one."""


def train(task: StepTask) -> None:
    """Take `params["seconds"]` for the whole curve, then measure."""
    mark = task.scratch / "point"
    first = int(mark.read_text()) if keep_sound(mark, task.warn) else 0
    distance = abs(math.log2(task.params["weight"] / 2)) + (task.params["layers"] != [1])
    for point in range(POINTS):
        if point >= first:
            time.sleep(task.params["seconds"] / POINTS)
            write_sealed(mark, partial(Path.write_text, data=str(point + 1)))
            if point == 0:
                with Path(task.params["ledger"]).open("a") as ledger:
                    ledger.write(json.dumps([task.params["cell"], task.params["seed"]]) + "\n")
        task.log(point + 1, {"validation/loss": distance + 1 / (point + 1)})
    if task.params["diverges"]:
        raise StepFailed("training diverged at step 3: the loss is nan", "diverged")
    blocker = task.params["broken_while"]
    if task.params["broken"] or (blocker and Path(blocker).exists()):
        raise ValueError("these settings are broken")
    task.metric(Metric("scanrefer/acc@0.25", 100 - 10 * distance + task.params["seed"], n=1))
    task.metric(Metric("scanqa/em@1", 50 + 10 * distance, n=1))
    (task.out / "done.txt").write_text(str(distance))
