"""What documents tell one to type: understood, and run, or listed with the reason why not."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from threedrs_components.scenes.registry import SCENES
from threedrs_platform.config.strict_yaml import load_document
from threedrs_workflows.cli import main
from threedrs_workflows.cli.model_arguments import Named, find_cell
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.first_grid import first_grid
from threedrs_workflows.testing.tiny_cell import CELL, SCENE

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    *("README.md", "workflows/README.md", "components/README.md"),
    *sorted(
        path.relative_to(ROOT).as_posix()
        for folder in ("tutorials", "how-to", "reference")
        for path in (ROOT / "docs" / folder).glob("*.md")
    ),
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "make ": "sets up a virtual environment first",
    "python3 -m venv": "sets up a virtual environment",
    ".venv/bin/": "installs packages",
    ". .venv/": "belongs to a shell",
    "export ": "belongs to a shell; tests/platform opens such databases and stores",
    "workflows accept": "needs an edit of the source: tests/workflows/plan/test_acceptance.py",
    "workflows resume": "needs a Slurm: tests/workflows/slurm/test_real_slurm.py",
    "workflows cancel": "needs a run that goes on: tests/workflows/cli/test_engine_verbs.py",
    "workflows ui": "serves until it is stopped: tests/workflows/cli/test_ui_verb.py",
    "workflows report": "half a minute of figures: tests/workflows/cli/test_report_verb.py",
    "workflows results table4": "needs a run of ScanNet: tests/workflows/cli/test_cli_results.py",
    "workflows tune FILE": "the same as the next of workflows/README.md",
    "workflows tune ablations.yaml  ": "searches for minutes: tests/workflows/tuning",
    "workflows tune ablations.yaml --trials": "searches for minutes: tests/workflows/tuning",
    "workflows submit .threedrs/tuning": "needs a finished search: test_tune_commands.py",
    "workflows doctor": "judges this machine: tests/workflows/cli",
    "workflows submit GRID --slurm": "needs a Slurm: tests/workflows/slurm",
    "torchrun ": "starts processes on several machines: tests/components/training/test_nodes.py",
    "workflows data fetch": "asks the network: tests/workflows/sources",
    "workflows data check": "wants the paper's data: tests/workflows/sources",
    "workflows prepare": "needs ScanNet: tests/workflows/cli/test_prepare_scannet.py",
    "workflows extract": "needs weights: tests/workflows/cli/test_extract_verb.py",
    "workflows evaluate data/models/3DRS": "needs 15 GB of weights, and ScanNet",
    "folder = mlflow": "needs an MLflow server: tests/workflows/tracking",
}
"""Beginning of a snippet's line -> why no test runs it."""


@dataclass(frozen=True)
class Command:
    """One line that a document tells one to type."""

    document: str
    line: str

    @property
    def words(self) -> list[str]:
        """Without the comment and the variables before it."""
        words = shlex.split(self.line, comments=True)
        return [word for word in words[len(self.variables) :]]

    @property
    def variables(self) -> dict[str, str]:
        """Those of the environment that stand before the verb."""
        found = {}
        for word in shlex.split(self.line, comments=True):
            name, equals, value = word.partition("=")
            if not equals or not name.isupper():
                break
            found[name] = value
        return found

    @property
    def is_ours(self) -> bool:
        return self.words[0] == "workflows"

    @property
    def reason(self) -> str:
        """Why it is not run; empty if it is."""
        told = shlex.join(self.words) + "  "
        fits = [why for start, why in NOT_RUN.items() if f"{self.line}  ".startswith(start)]
        return fits[0] if fits else next((w for s, w in NOT_RUN.items() if told.startswith(s)), "")


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for found, text in BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
            if found == language:
                yield document, text


COMMANDS = [
    Command(document, line)
    for document, text in blocks("bash")
    for line in text.replace("\\\n", " ").splitlines()
    if line.strip()
]
OURS = [each for each in COMMANDS if each.is_ours]
RUN = [*{each.line: each for each in OURS if not each.reason}.values()]
"""Once each, however many documents tell them."""


def named(command: Command) -> str:
    return " ".join(command.words[:5])


@pytest.mark.parametrize("command", OURS, ids=named)
def test_every_command_is_understood(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its verb's own parser; the work behind it is left out."""
    _, verb, *rest = command.words
    module = import_module(f"threedrs_workflows.cli.{verb}")
    kinds = getattr(module, "KINDS", {})
    if rest and rest[0] in kinds:
        module = import_module(f"threedrs_workflows.cli.{kinds[rest[0]]}")
    seen: list[str] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args.verb)
        return 0

    monkeypatch.setattr(module, "run", run)
    assert main(command.words[1:]) == 0 and seen


@pytest.mark.parametrize("command", RUN, ids=named)
def test_commands_are_run(
    command: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a submission, which trains for minutes, the same words are planned."""
    for name in ("ablations.yaml", "workflows"):
        (tmp_path / name).symlink_to(ROOT / name)
    if command.words[1] != "init":
        (tmp_path / "first.yaml").write_text(first_grid("first", None).text)
    (tmp_path / "data" / "scannet" / "posed_images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THREEDRS_WORKSPACE", str(trained))
    for name, value in command.variables.items():
        monkeypatch.setenv(name, value)
    words = command.words[1:]
    if words[0] == "submit":
        words = ["plan", *words[1:]]
    assert main([*in_place(words, trained), "--quiet"]) == 0


def in_place(words: list[str], workspace: Path) -> list[str]:
    """The words with this workspace's cell, student and scenes in the places of a reader's own."""
    with ExitStack() as opened:
        steps = find_cell(Named(CELL, workspace=str(workspace)), opened)
        student, world = steps.folder("finetune"), steps.folder("scenes")
    own = {"CELL:METRIC": f"{CELL}:scanrefer/acc@0.25", "CELL": CELL, "SCENE": SCENE}
    own |= {"CHECKPOINT": str(student), "/data/redkitchen": str(world / "scenes" / SCENE)}
    folder = str(world if words[0] in ("evaluate", "init") else world / "scenes" / SCENE)
    placed = [own.get(word, folder if word == "DIR" else word) for word in words]
    if words[0] != "init" and ("--scenes" in placed or str(student) in placed):
        placed += ["--min-frames", "1"]
    return placed + (["--set", "prepare.num_frames=3"] if str(student) in placed else [])


def test_a_first_grid_of_scannet_reads_what_was_prepared() -> None:
    """In every document: `init --scenes` is given what `prepare scannet --out` has written."""
    told = [(each.document, [*each.words, "", ""]) for each in OURS]
    prepared = {
        document: words[words.index("--out") + 1]
        for document, words in told
        if words[1:3] == ["prepare", "scannet"] and "--out" in words
    }
    begun = {
        document: words[words.index("--scenes") + 1]
        for document, words in told
        if words[1:3] == ["init", "scannet"]
    }
    assert begun and begun == {document: prepared.get(document) for document in begun}


@pytest.mark.parametrize(("document", "text"), list(blocks("python")))
def test_python_is_run(
    document: str, text: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compile(
        text.replace('"CELL"', repr(CELL)).replace('"SCENE"', repr(SCENE)), document, "exec"
    )
    monkeypatch.setenv("THREEDRS_WORKSPACE", str(trained))
    if not any(text.startswith(start) for start in NOT_RUN):
        exec(code, {})


@pytest.mark.parametrize(("document", "text"), list(blocks("yaml")))
def test_yaml_is_a_part_of_a_grid(document: str, text: str) -> None:
    data = yaml.safe_load(text)
    if "scenes" in data:
        SCENES.read(data["scenes"])
    else:
        expand(load_document(f"version: 1\nname: x\nbase: {{preset: as_released}}\n{text}"))


def test_reasons_are_of_lines_that_are_there() -> None:
    lines = [f"{each.line}  " for each in COMMANDS]
    lines += [text for _, text in blocks("python")]
    told = [shlex.join(each.words) + "  " for each in COMMANDS]
    assert not [s for s in NOT_RUN if not any(each.startswith(s) for each in (*lines, *told))]
    silent = [each for each in COMMANDS if not each.is_ours and not each.reason]
    assert not silent, f"neither run nor listed: {silent}"
