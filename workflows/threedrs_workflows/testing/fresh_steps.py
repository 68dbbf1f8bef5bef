"""Steps in processes that never loaded the project, and what they load there.

For the guard of keys: whatever a step loads must be among the modules that its key hashes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.steps import StepSpec
from threedrs_workflows.plan.graph import GraphBuilder

SCRIPT = Path(__file__).with_name("fresh_process.py")


class FreshSteps:
    """Runs every step once, however many cells share it, and keeps what it loaded."""

    def __init__(self, root: Path) -> None:
        """Start the process that steps are forked from.

        Args:
            root: gets a folder per step.
        """
        self.root, self.code = root, CodeIndex()
        self._graph = GraphBuilder(self.code.digest)
        self._out: dict[str, Path] = {}
        self.kinds: set[str] = set()
        """Of the steps that have run."""
        self._loaded: dict[str, list[str]] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def run(self, spec: StepSpec) -> Path:
        """The folder that a step and the steps before it have written."""
        key = self._graph.key(spec)
        if key not in self._out:
            inputs = {name: self.run(read) for name, read in spec.inputs.items()}
            folder = self.root / key[:16]
            shutil.rmtree(folder, ignore_errors=True)  # of a step that has failed before
            for name in ("out", "scratch"):
                (folder / name).mkdir(parents=True)
            self.kinds.add(spec.kind)
            self._loaded[key] = self._execute(spec, inputs, folder)
            self._out[key] = folder / "out"
        return self._out[key]

    def _execute(self, spec: StepSpec, inputs: Mapping[str, Path], folder: Path) -> list[str]:
        """Modules of the project that one step loads."""
        task = {
            "entry": spec.entry,
            "params": spec.params,
            "settings": dict(spec.settings),
            "inputs": {name: str(path) for name, path in inputs.items()},
            "out": str(folder / "out"),
            "scratch": str(folder / "scratch"),
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(task), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"step {spec.kind} {spec.label}: {answer['error']}"
        found: list[str] = answer["modules"]
        return found

    def outside_the_key(self, spec: StepSpec) -> list[str]:
        """Modules that a step has loaded, and that its key does not hash."""
        loaded = self._loaded[self._graph.key(spec)]
        return sorted(set(loaded) - set(self.code.modules(spec.entry, spec.modules)))
