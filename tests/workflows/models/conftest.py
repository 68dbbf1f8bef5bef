"""A workspace with one trained cell."""

from pathlib import Path

import pytest

from threedrs_workflows.testing.tiny_cell import write_tiny_cell


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("trained") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREEDRS_TRACKING", "off")
        write_tiny_cell(workspace)
    return workspace
