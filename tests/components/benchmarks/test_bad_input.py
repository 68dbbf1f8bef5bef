"""Spoiled files of every kind end in a message of ours, never in another exception.

`tests/bench/fuzz_records.py` tries ten thousand of them.
"""

import random
from pathlib import Path

import pytest

from threedrs_components.testing.spoiled_records import PREDICTIONS, SpoiledFiles

FIXTURES = Path(__file__).parent / "fixtures"
CASES = 34
"""Of each benchmark."""


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("kind", sorted(PREDICTIONS))
def test_spoiled_files_are_refused_or_scored(kind: str, tmp_path: Path) -> None:
    files = SpoiledFiles(FIXTURES, tmp_path / "files")
    refused = [files.attempt(kind, random.Random(seed)) for seed in range(CASES)]
    assert sum(error is not None for error in refused) > 10
    assert sum(error is None for error in refused) > 3
