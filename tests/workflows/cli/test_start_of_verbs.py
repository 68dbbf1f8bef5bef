"""What a verb imports before it does anything: people wait for it each time."""

import subprocess
import sys

from threedrs_workflows.cli.verbs import help_text, summaries, verb_names

HELP = """
import sys
from threedrs_workflows.cli import main
for verb in sys.argv[1:]:
    try:
        main([verb, "--help"])
    except SystemExit as end:
        assert not end.code
heavy = {"pydantic", "sqlalchemy", "numpy", "rich", "yaml", "importlib.metadata"}
print(sorted(heavy & set(sys.modules)))
"""


def test_help_imports_nothing_of_the_work() -> None:
    verbs = ["submit", "results", "compare"]
    done = subprocess.run(
        [sys.executable, "-c", HELP, *verbs], capture_output=True, text=True, check=True
    )
    assert all(f"usage: workflows {verb}" in done.stdout for verb in verbs)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_verb_has_a_summary_that_its_module_knows() -> None:
    from importlib import import_module

    told = summaries()
    assert list(told) == verb_names() and len(told) > 30
    for verb in ("results", "score", "gc", "work"):
        assert told[verb] == import_module(f"threedrs_workflows.cli.{verb}").SUMMARY
    assert all(f"  {summary}" in help_text() for summary in told.values())
