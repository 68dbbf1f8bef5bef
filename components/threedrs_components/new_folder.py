"""A folder that is there whole or not at all: for what is written by hand and given away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors


@contextmanager
def new_folder(out: Path, setting: str = "--out") -> Iterator[Path]:
    """A folder to write into, which becomes `out` at the end; after an error nothing is left.

    Args:
        out: not there yet, or empty.
        setting: what named it.

    Raises:
        ConfigError: it holds something.
        StorageError: no folder can be made there.
    """
    out = out.resolve()  # `.` has no name, and a link is no folder to put another in the place of
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError([Fault(f"{out} holds something; name a new folder", path=setting)])
    with place_errors(f"write {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp's are for their owner alone
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
