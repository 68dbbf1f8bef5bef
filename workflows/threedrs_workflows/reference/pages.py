"""All generated pages of the documentation, by their place in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module

from threedrs_components.report.metric_words import WORDS
from threedrs_workflows.cli import main
from threedrs_workflows.cli.verbs import help_text, verb_names
from threedrs_workflows.reference.setting_pages import setting_pages


def generated_pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    settings = {f"reference/settings-{name}.md": text for name, text in setting_pages().items()}
    return {
        **settings,
        "reference/commands.md": "\n".join(_commands()),
        "reference/metrics.md": "\n".join(_metrics()),
    }


def verbs_with_kinds() -> Iterator[tuple[str, ...]]:
    """Words of every command that has a help page of its own: `prepare`, `prepare scannet`."""
    for verb in verb_names():
        yield (verb,)
        kinds = getattr(import_module(f"threedrs_workflows.cli.{verb}"), "KINDS", {})
        yield from ((verb, kind) for kind in kinds)


def _commands() -> Iterator[str]:
    yield from ("# Commands", "", "```text", help_text(), "```", "")
    for words in verbs_with_kinds():
        yield from (f"## workflows {' '.join(words)}", "", "```text", _help(words), "```", "")


def _help(words: tuple[str, ...]) -> str:
    """As the terminal shows it."""
    said = io.StringIO()
    with redirect_stdout(said):
        try:
            main([*words, "--help"])
        except SystemExit as ended:
            assert not ended.code, words
    return said.getvalue().strip()


def _metrics() -> Iterator[str]:
    yield from ("# Metrics", "")
    yield "A metric's name is its benchmark, its score and, behind a slash, the kind of question:"
    yield "`scanrefer/acc@0.25/position`. The pages of `workflows ui` explain each on hover."
    for heading, words in WORDS.items():
        yield from ("", f"## {heading}", "", "| part | meaning |", "|---|---|")
        yield from (f"| `{part}` | {meaning} |" for part, meaning in words.items())
