"""How another process, here or elsewhere, is told to be `workflows`."""

from __future__ import annotations

import sys

PACKAGES = (
    "threedrs_platform",
    "threedrs_components",
    "threedrs_workflows",
    "threedrs_dashboards",
)
"""All that it imports of the project."""
_CODE = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"


def python() -> list[str]:
    """This Python, which imports nothing from the folder that it happens to stand in: a reader's
    own `yaml.py` or `click.py` there is none of ours."""
    return [sys.executable, "-P"]


def own_command(*words: str) -> list[str]:
    """A command line with this Python and these words after `workflows`."""
    return [*python(), "-c", _CODE, *words]
