"""The site's sources: every setting is described, the reference is whole, examples run."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import threedrs
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.training.config import TrainingConfig
from threedrs_platform.config import CONDUCT, Config
from threedrs_workflows import cli
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.file import GridFile
from threedrs_workflows.reference.pages import generated_pages
from threedrs_workflows.reference.settings import Section, sections_below, settings_of
from threedrs_workflows.testing.tiny_cell import CELL, SCENE

ROOT = Path(__file__).resolve().parents[1]
VERBS = Path(cli.__file__).parent
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_results.ipynb"
SECTIONS = sections_below(Section("", Experiment), Section("", GridFile))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generated_pages()


def test_every_setting_is_described() -> None:
    """By the string below its field, or its section's docstring; one that redeclares inherits."""
    silent = [each.name for section in SECTIONS for each in settings_of(section) if not each.text]
    assert len(SECTIONS) > 40 and not silent


def test_a_setting_without_description_is_seen() -> None:
    class Told(Config):
        """Two fields."""

        told: int = 1
        """The first."""
        silent: int = 2

    assert [each.text for each in settings_of(Section("", Told))] == ["The first.", ""]


def test_the_reference_has_every_field_of_every_class(pages: dict[str, str]) -> None:
    """Pydantic's own schema says which classes and fields a grid file can have."""
    told = {
        section.partition("{ #")[2].partition(" }")[0]: section
        for name, text in pages.items()
        if "settings-" in name
        for section in text.split("\n## ")[1:]
    }
    top = "\n".join(text for name, text in pages.items() if "settings-" in name)
    schemas = [each.model_json_schema() for each in (Experiment, GridFile)]
    found = {name: each for schema in schemas for name, each in schema["$defs"].items()}
    classes = {name: each["properties"] for name, each in found.items() if each.get("properties")}
    assert len(classes) > 50 and {"LoraSettings", "TuneSection"} <= {*classes}
    missing = [
        f"{name}.{field}"
        for name, fields in classes.items()
        for field in fields
        if f".{field}` |" not in told.get(name.lower(), "")
    ]
    missing += [
        each for schema in schemas for each in schema["properties"] if f"| `{each}` |" not in top
    ]
    assert missing == []


def test_the_reference_has_every_verb(pages: dict[str, str]) -> None:
    """A file of the command line that takes arguments and runs is a verb, or a kind of one."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in VERBS.glob("*.py")}
    verbs = [
        name
        for name, text in sources.items()
        if "\ndef run(" in text and "\ndef add_arguments(" in text
    ]
    assert {"submit", "ask", "prepare_scannet"} <= {*verbs} and len(verbs) > 30
    words = [name.replace("_", " ", 1).replace("_", "-") for name in verbs]
    commands = pages["reference/commands.md"]
    assert [each for each in words if f"## workflows {each}\n" not in commands] == []


def test_the_reference_explains_what_is_measured(trained: Path, pages: dict[str, str]) -> None:
    """Every benchmark there is, and every score of one in the results of a run."""
    measured = threedrs.results(workspace=str(trained))["metric"]
    scores = {name.split("/")[1] for name in measured if name.split("/")[0] in BENCHMARKS}
    assert {"acc@0.25", "em@1"} <= scores
    page = pages["reference/metrics.md"]
    assert [each for each in sorted({*BENCHMARKS, *scores}) if f"| `{each}` |" not in page] == []


def test_marks_and_bounds_are_told() -> None:
    training = {each.name: each for each in settings_of(Section("", TrainingConfig))}
    assert training["log_every"].marks == (CONDUCT.name,)
    assert training["warmup_ratio"].takes == "number ≥ 0, < 1"
    assert training["gradient_accumulation"].default == "1"


def test_the_site_lists_every_page(pages: dict[str, str]) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(_pages_of(yaml.safe_load(text)["nav"]))
    written = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert written | {*pages} <= listed


def _pages_of(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [page for each in below for page in _pages_of(each)]


EXAMPLES = {
    "table_of_a_run.py": [],
    "ask_about_a_room.py": [CELL, SCENE, "find the lamp", "what color is the lamp"],
    "score_a_folder.py": ["SCENES", "1"],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(
    name: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(_scenes(trained)) if word == "SCENES" else word for word in EXAMPLES[name]]
    monkeypatch.setenv("THREEDRS_WORKSPACE", str(trained))
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(ROOT / "docs" / "examples" / name), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_every_example_is_run() -> None:
    assert {path.name for path in (ROOT / "docs" / "examples").glob("*.py")} == {*EXAMPLES}


def _scenes(workspace: Path) -> Path:
    return next(path.parent for path in workspace.rglob(f"scenes/{SCENE}"))


def test_the_notebook_runs(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setenv("THREEDRS_WORKSPACE", str(trained))
    matplotlib.use("Agg")
    kept: dict[str, Any] = {}
    for cell in _notebook()["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), kept)
    kept["plt"].close("all")
    assert kept["cell"] == CELL and len(kept["found"].choices) > 1


def test_the_notebook_is_kept_without_outputs() -> None:
    code = [each for each in _notebook()["cells"] if each["cell_type"] == "code"]
    assert len(code) > 3 and not any(e["outputs"] or e["execution_count"] for e in code)


def _notebook() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return read
