"""What others made and the platform reads: origin, licence, size, and where its files lie."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from threedrs_platform.config import Config
from threedrs_platform.config.faults import validate
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.errors import ConfigError, Fault

CATALOGUE = Path(__file__).with_name("catalogue.yaml")


class SourceFile(Config):
    """A file or folder, and what is known of the published one."""

    path: str
    """Under the folder DATA of the presets."""
    what: str = ""
    """What it holds, where its name does not say it."""
    bytes: PositiveInt | None = None
    """Exact size."""
    sha256: str | None = None
    """Digest of the published file."""
    records: PositiveInt | None = None
    """How many a file of annotations has in the published revision."""
    scenes: PositiveInt | None = None
    """How many a whole folder has; with fewer, grids run on those there are."""


class Hub(Config):
    """A repository of the Hugging Face hub that anybody may fetch."""

    repository: str
    type: Literal["model", "dataset"] = "model"
    into: str
    """Folder under DATA."""
    patterns: tuple[str, ...] | None = None
    """Files that are wanted of it; None is all."""


class Source(Config):
    """One thing to fetch."""

    what: str
    group: Literal["scenes", "annotations", "training data", "students", "teachers"]
    kinds: tuple[str, ...] = ()
    """Kinds of student, teacher, benchmark or set of questions that read it, as a grid calls them,
    where they are not called as the source is."""
    origin: str
    """Where it is."""
    licence: str
    """Whose terms, and what must be signed."""
    size: str = ""
    """About how large; empty where nobody measured it."""
    how: str = ""
    """What is to be done with what was fetched."""
    hub: Hub | None = None
    """Where it can be fetched without asking anybody."""
    files: tuple[SourceFile, ...] = Field(min_length=1)
    """As the presets name them."""


class Catalogue(Config):
    """All of them by name."""

    sources: dict[str, Source]


@cache
def catalogue() -> dict[str, Source]:
    """Everything the grids read, by name, in the order of the file."""
    document = load_document(CATALOGUE)
    return validate(Catalogue, document.data, document).sources


def sources_of_kind(kind: str) -> tuple[str, ...]:
    """Sources that a kind of student, teacher, benchmark or set of questions reads."""
    return tuple(name for name, each in catalogue().items() if kind in (name, *each.kinds))


def source_named(name: str) -> Source:
    """One of them.

    Raises:
        ConfigError: there is none of this name; suggests the nearest.
    """
    known = catalogue()
    if name not in known:
        raise ConfigError([Fault(f"no source {name!r}{nearest_and_all(name, known)}")])
    return known[name]
