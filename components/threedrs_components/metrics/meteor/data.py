"""METEOR's data, read where pip put it: inside the jar of the installed pycocoevalcap wheel."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path

from threedrs_components.metrics.meteor.normalise import DotRules
from threedrs_platform.errors import DataError

PACKAGE, STEMMER = "pycocoevalcap", "snowballstemmer"
_JAR = "pycocoevalcap/meteor/meteor-1.5.jar"
_PARAPHRASES = "pycocoevalcap/meteor/data/paraphrase-en.gz"


@dataclass(frozen=True)
class MeteorData:
    """Paths of the wheel's files; the small tables are parsed when first asked for."""

    jar: Path
    paraphrases: Path
    version: str

    def _lines(self, member: str) -> list[str]:
        with zipfile.ZipFile(self.jar) as archive:
            return archive.read(member).decode("utf-8").split("\n")

    @cached_property
    def function_words(self) -> frozenset[str]:
        """Words that weigh less: articles, prepositions, punctuation."""
        return frozenset(line for line in self._lines("function/english.words") if line)

    @cached_property
    def dot_rules(self) -> DotRules:
        """Abbreviations."""
        always, before_numbers = set(), set()
        for line in self._lines("nonbreaking/english.prefixes"):
            word = line.strip()
            if "#NUMERIC_ONLY#" in word:
                before_numbers.add(word.split()[0])
            elif word and not word.startswith("#"):
                always.add(word)
        return DotRules(always, before_numbers)

    @cached_property
    def synsets(self) -> dict[str, str]:
        """Word to the ids of its WordNet synsets, as one line of text."""
        lines = self._lines("synonym/english.synsets")
        return dict(zip(lines[::2], lines[1::2], strict=False))

    @cached_property
    def irregular_forms(self) -> dict[str, tuple[str, ...]]:
        """Inflected form to its base forms, where no rule applies."""
        lines = self._lines("synonym/english.exceptions")
        bases: dict[str, list[str]] = {}
        for base, forms in zip(lines[::2], lines[1::2], strict=False):
            for form in forms.split():
                bases.setdefault(form, []).append(base)
        return {form: tuple(words) for form, words in bases.items()}


ABSENT = "absent"


def installed_versions() -> dict[str, str]:
    """Versions of the packages that METEOR's numbers depend on, ABSENT where one is missing."""
    return {name: _version(name) for name in (PACKAGE, STEMMER)}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ABSENT


@lru_cache(maxsize=1)
def installed_data() -> MeteorData:
    """The data of the installed wheel.

    Raises:
        DataError: pycocoevalcap or snowballstemmer is not installed; says how to get them.
    """
    cure = "METEOR needs them: pip install -e '.[eval]'"
    try:
        package = metadata.distribution(PACKAGE)
        metadata.distribution(STEMMER)
    except metadata.PackageNotFoundError as error:
        raise DataError(f"{error.name} is not installed; {cure}") from error
    jar = Path(str(package.locate_file(_JAR)))
    paraphrases = Path(str(package.locate_file(_PARAPHRASES)))
    for path in (jar, paraphrases):
        if not path.is_file():
            raise DataError(f"{path} is missing; reinstall {PACKAGE}. {cure}")
    return MeteorData(jar, paraphrases, package.version)
