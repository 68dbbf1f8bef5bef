"""Files that only save time, on disks that take none."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.storage import keep_memo


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_memo_that_cannot_be_kept_is_done_without(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    keep_memo(tmp_path / "cache" / "memo", b"1")
    assert not [*tmp_path.iterdir()]
