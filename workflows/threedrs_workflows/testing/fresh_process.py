"""Runs steps, each in a process that has never loaded a module of the project.

Run as a script, never imported: it must load nothing of the project itself. It loads the heavy
libraries once, then forks for every line of its input: a step as JSON. The child answers with the
modules of the project that it loaded, and with its error if it failed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

PROJECT = "threedrs_"
HEAVY = ("numpy", "PIL.Image", "scipy.optimize", "pydantic", "torch", "safetensors.torch",
         "pyarrow", "transformers", "transformers.modeling_utils")  # fmt: skip


class Silent:
    """Takes what a step reports."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


def loaded() -> list[str]:
    """Modules of the project that are in memory."""
    return sorted(name for name in sys.modules if name.startswith(PROJECT))


def run(task: dict[str, Any]) -> list[str]:
    """Execute a step as a worker would; answers the project's modules that it needed."""
    before = loaded()
    assert not before, before
    module, _, function = task["entry"].partition(":")
    entry = getattr(importlib.import_module(module), function)
    steps = importlib.import_module("threedrs_platform.steps")
    inputs = {name: Path(path) for name, path in task["inputs"].items()}
    out, scratch = Path(task["out"]), Path(task["scratch"])
    entry(steps.StepTask(task["params"], inputs, out, scratch, Silent(), task["settings"]))
    return loaded()


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """What the parent is told of a step."""
    try:
        return {"modules": run(task)}
    except BaseException:
        return {"error": traceback.format_exc()}


def main() -> None:
    """Fork a child for every line of input."""
    for name in HEAVY:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            os.dup2(2, 1)  # what a step prints is no answer
            with os.fdopen(write, "w") as pipe:
                json.dump(answer(json.loads(line)), pipe)
                pipe.flush()
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        print(text or '{"error": "the process died"}', flush=True)


if __name__ == "__main__":
    main()
