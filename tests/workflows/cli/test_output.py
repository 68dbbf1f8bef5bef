"""Under --json nothing but the one object reaches stdout, whatever libraries print."""

from __future__ import annotations

import json

import pytest

from threedrs_workflows.cli import main


def test_what_libraries_print_does_not_reach_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatter() -> dict[str, object]:
        print("[WARNING] Setting accelerator to CPU")
        return {}

    monkeypatch.setattr("threedrs_workflows.cli.data.catalogue", chatter)
    assert main(["data", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"schema": "workflows.data/1", "sources": {}}
    assert "accelerator" in said.err
