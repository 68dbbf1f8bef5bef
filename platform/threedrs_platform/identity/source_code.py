"""The code behind a step: a digest of every project module that its entry points can reach.

Modules are read, never imported, until a step is about to run: then its code is pinned. People edit
files while grids run. Before a process first runs a step's code it compares the files with the
plan, loads every module that the step can reach, and compares again: from then on the code in
memory is the planned code, and edits concern only runs to come.

What counts of a module is told in `syntax`, what it imports in `imports`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault, StepFailed
from threedrs_platform.identity.file_digests import StampedCache
from threedrs_platform.identity.imports import EVERYTHING, PROJECT_PREFIX, find_imports
from threedrs_platform.identity.recipes import CodeDigest, sha256_text
from threedrs_platform.identity.syntax import WHOLE, read_syntax

NUMERIC_PACKAGES = {
    "PIL": "pillow",
    "av": "av",
    "deepspeed": "deepspeed",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scenezoo": "scenezoo",
    "scipy": "scipy",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
}
"""Packages whose version can change a number: distribution name by import name."""
OPTIONAL_PACKAGES = frozenset({"av", "scenezoo"})
"""Those that a step can do without, depending on its data: absent, they change no number."""

ANALYSIS_VERSION = 2
"""Part of every memo. Raise it when `syntax`, `imports` or `ModuleSource` change."""

LOADERS_OF_GIVEN_CODE = frozenset(
    {"threedrs_platform.config.kinds", "threedrs_platform.identity.source_code"}
)
"""Modules that may import by a computed name, for what they load is walked by another way: they
load the further modules that a step's spec names, or what has been walked already."""


class CodeError(ConfigError):
    """The code digest of a step cannot be computed."""

    def __init__(self, message: str) -> None:
        super().__init__([Fault(message)])

    def __reduce__(self) -> tuple[type[CodeError], tuple[str]]:
        return type(self), (str(self),)


@dataclass(frozen=True)
class ModuleSource:
    """What one module contributes: its digests, and the modules it loads."""

    digest: str
    details: Mapping[str, str]
    """Short digest by name of a function, class or method."""
    modules: Sequence[str]
    """Absolute names of imported modules."""
    names: Sequence[str]
    """Absolute names used from project modules; each may be a module itself."""
    unknown: Sequence[str]
    """Imports that cannot be followed."""


@dataclass
class CodeIndex:
    """Code digests of entry points, with a memo per source file.

    All questions take an entry point `package.module:function`, and further modules that the step
    loads beside it.

    Raises:
        CodeError: a module cannot be found, parsed or followed, or a package has no version.
    """

    cache_file: Path | None = None
    _reached: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    _digests: dict[tuple[str, ...], CodeDigest] = field(default_factory=dict)
    _files: dict[str, str | None] = field(default_factory=dict)
    _sources: dict[str, ModuleSource] = field(default_factory=dict)
    _next: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cache = StampedCache(self.cache_file)

    def digest(self, entry: str, modules: Sequence[str] = ()) -> CodeDigest:
        """Digest of everything that the entry point and the further modules can reach."""
        starts = _starts(entry, modules)
        if starts not in self._digests:
            reached = self.modules(entry, modules)
            lines = "\n".join(f"{name} {self._source(name).digest}" for name in reached)
            imported = {module for name in reached for module in self._source(name).modules}
            tops = {module.partition(".")[0] for module in imported}
            packages = sorted(NUMERIC_PACKAGES[top] for top in tops & NUMERIC_PACKAGES.keys())
            versions = {
                package: package_version(package)
                for package in packages
                if package not in OPTIONAL_PACKAGES or importlib.util.find_spec(package)
            }
            self._digests[starts] = CodeDigest(sha256_text(lines), versions)
        return self._digests[starts]

    def modules(self, entry: str, modules: Sequence[str] = ()) -> tuple[str, ...]:
        """All project modules that can be reached, packages before what is in them."""
        starts = _starts(entry, modules)
        if starts not in self._reached:
            found: set[str] = set()
            waiting = [name for start in starts for name in _with_parents(start)]
            while waiting:
                name = waiting.pop()
                if name not in found:
                    found.add(name)
                    waiting.extend(self._loaded_by(name))
            self._reached[starts] = tuple(sorted(found))
        return self._reached[starts]

    def details(self, entry: str, modules: Sequence[str] = ()) -> dict[str, Mapping[str, str]]:
        """What the digest is made of: short digests by module and name, for `changed_code`."""
        return {name: self._source(name).details for name in self.modules(entry, modules)}

    def forget(self) -> None:
        """Look at the files again at the next call."""
        for memo in (self._reached, self._digests, self._files, self._sources, self._next):
            memo.clear()

    def save(self) -> None:
        """Keep the memo for the next process."""
        self._cache.save()

    def _loaded_by(self, name: str) -> tuple[str, ...]:
        if name not in self._next:
            source = self._source(name)
            if source.unknown and name not in LOADERS_OF_GIVEN_CODE:
                raise CodeError(
                    f"{self._file(name)}:{source.unknown[0]} loads code that the digest of a step "
                    "cannot follow, so a change of that code would go unnoticed; import it by its "
                    "name, or name it in StepSpec.modules and load it with "
                    "threedrs_platform.config.kinds"
                )
            imported = [module for module in source.modules if module.startswith(PROJECT_PREFIX)]
            found = {parent for module in imported for parent in _with_parents(module)}
            for used in source.names:
                found.update(self._modules_named(used))
            self._next[name] = tuple(found)
        return self._next[name]

    def _modules_named(self, name: str) -> Iterator[str]:
        """The module that a name used from a package is; of `*`, all that are in the package."""
        package, _, last = name.rpartition(".")
        above = self._file(package)
        if above is None or not above.endswith("__init__.py"):
            return
        if last == EVERYTHING:
            files = os.listdir(os.path.dirname(above))
            names = {file.partition(".")[0] for file in files} - {"__init__"}
        else:
            names = {last}
        for each in names:
            if self._file(f"{package}.{each}"):
                yield f"{package}.{each}"

    def _file(self, name: str) -> str | None:
        if name not in self._files:
            self._files[name] = find_module(name)
        return self._files[name]

    def _source(self, name: str) -> ModuleSource:
        if name not in self._sources:
            self._sources[name] = self._read(name)
        return self._sources[name]

    def _read(self, name: str) -> ModuleSource:
        file = self._file(name)
        if file is None:
            raise CodeError(f"module {name} is needed by a step but does not exist")
        status = os.stat(file)
        memo = f"{ANALYSIS_VERSION}:{file}"
        known = self._cache.get(memo, status)
        if known is not None:
            return ModuleSource(**known)
        source = analyse(name, Path(file))
        self._cache.put(memo, status, asdict(source))
        return source


def code_digest(entry: str) -> CodeDigest:
    """Digest of an entry point's code, computed from scratch."""
    return CodeIndex().digest(entry)


def _starts(entry: str, modules: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({entry.partition(":")[0], *modules}))


def _with_parents(name: str) -> Iterator[str]:
    """The module and every package above it: importing it runs them all."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def find_module(name: str) -> str | None:
    """Source file of a module of an importable top-level package, without importing it."""
    top, *rest = name.split(".")
    for root in _package_folders(top):
        folder = os.path.join(root, *rest)
        for file in (os.path.join(folder, "__init__.py"), f"{folder}.py"):
            if os.path.isfile(file) and (rest or file.endswith("__init__.py")):
                return file
    return None


@lru_cache
def _package_folders(top: str) -> tuple[str, ...]:
    try:
        spec = importlib.util.find_spec(top)
    except ValueError as error:
        raise CodeError(f"package {top}: {error}") from error
    locations = spec.submodule_search_locations if spec is not None else None
    return tuple(os.fspath(place) for place in locations or ())


@lru_cache
def package_version(distribution: str) -> str:
    """Version of an installed distribution, read from its metadata."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise CodeError(
            f"package {distribution} is imported by a step but not installed, so the step has no "
            f"identity; install it"
        ) from error


def analyse(name: str, file: Path) -> ModuleSource:
    """Read one module: digest what counts of it, list what it loads."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
        syntax, imports = read_syntax(tree), find_imports(tree, package)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise CodeError(f"{file}: cannot be parsed, so it has no digest: {error}") from error
    return ModuleSource(
        syntax.digest, syntax.names, imports.modules, imports.names, imports.unknown
    )


def changed_code(
    old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """What differs between the details of two code digests, one line per module.

    `threedrs_x.bleu: bleu, BleuReferences.add (new)`, `threedrs_x.y: new module`,
    `threedrs_x.z: gone`.
    """
    lines = []
    for module in sorted(old.keys() | new.keys()):
        if module not in old:
            lines.append(f"{module}: new module")
        elif module not in new:
            lines.append(f"{module}: gone")
        elif changes := _changed_names(old[module], new[module]):
            lines.append(f"{module}: {', '.join(changes)}")
    return lines


def _changed_names(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changes = []
    for name in (name for name in {**new, **old} if old.get(name) != new.get(name)):
        mark = " (new)" if name not in old else " (gone)" if name not in new else ""
        changes.append(name + mark)
    return changes if changes == [WHOLE] else [name for name in changes if name != WHOLE]


_pinned: dict[tuple[str, ...], str] = {}
"""Digest of the code that is in memory, by entry and further modules."""
_loaded: dict[str, str] = {}
"""Digest of each module's source when it was loaded."""
_one_at_a_time = threading.Lock()


def pin_code(
    entry: str, digest: str, cache_file: Path | None = None, modules: Sequence[str] = ()
) -> None:
    """Load all project code that a step can reach, if it is still the planned code.

    Args:
        digest: of the code, as planned.
        cache_file: what is known about unchanged source files; only read.
        modules: what the step loads beside its entry point.

    Raises:
        StepFailed: the code was edited since the plan, or was loaded before another edit.
    """
    starts = _starts(entry, modules)
    with _one_at_a_time:
        if starts not in _pinned:
            _load_planned(CodeIndex(cache_file), entry, digest, modules)
            _pinned[starts] = digest
        _compare(entry, _pinned[starts], digest)


def _load_planned(index: CodeIndex, entry: str, digest: str, modules: Sequence[str]) -> None:
    _compare(entry, index.digest(entry, modules).modules, digest)
    for name in index.modules(entry, modules):
        importlib.import_module(name)
    index.forget()
    _compare(entry, index.digest(entry, modules).modules, digest)
    for name, details in index.details(entry, modules).items():
        # Another step may have loaded this module before it was edited and planned anew.
        _compare(entry, _loaded.setdefault(name, details[WHOLE]), details[WHOLE])


def _compare(entry: str, found: str, planned: str) -> None:
    if found != planned:
        raise StepFailed(
            f"the code of {entry} was edited since this run was planned, so a result would belong "
            "to neither version; submit again"
        )
