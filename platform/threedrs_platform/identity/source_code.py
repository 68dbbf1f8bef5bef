"""The code behind a step: a digest of every project module its entry point can reach.

Modules are read, never imported. A module counts by its syntax tree: comments, docstrings, blank
lines and line numbers do not matter. Imports inside functions count; imports under
`if TYPE_CHECKING` do not, for they never run.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.identity.file_digests import StampedCache
from threedrs_platform.identity.recipes import CodeDigest, sha256_text

PROJECT_PREFIX = "threedrs_"

NUMERIC_PACKAGES = {
    "PIL": "pillow",
    "deepspeed": "deepspeed",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "torchvision": "torchvision",
    "transformers": "transformers",
}
"""Packages whose version can change a number: distribution name by import name."""

ANALYSIS_VERSION = f"1-{sys.version_info.major}.{sys.version_info.minor}"
"""Part of every memo: another Python dumps syntax trees differently."""


class CodeError(ConfigError):
    """The code digest of a step cannot be computed."""

    def __init__(self, message: str) -> None:
        super().__init__([Fault(message)])

    def __reduce__(self) -> tuple[type[CodeError], tuple[str]]:
        return type(self), (str(self),)


@dataclass(frozen=True)
class ModuleSource:
    """What one module contributes: the hash of its syntax tree and the names it imports."""

    digest: str
    modules: tuple[str, ...]
    """Absolute names of imported modules."""
    names: tuple[str, ...]
    """Absolute names imported from modules; each may be a module itself."""


@dataclass
class CodeIndex:
    """Code digests of entry points, with a memo per source file."""

    cache_file: Path | None = None
    _known: dict[tuple[str, ...], CodeDigest] = field(default_factory=dict)
    _modules: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    _files: dict[str, Path | None] = field(default_factory=dict)
    _sources: dict[str, ModuleSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cache = StampedCache(self.cache_file)

    def digest(self, entry: str, modules: Sequence[str] = ()) -> CodeDigest:
        """Digest of everything that `package.module:function` and further modules can reach.

        Raises:
            CodeError: a module cannot be found or parsed, or a package has no version.
        """
        starts = (entry.partition(":")[0], *sorted(modules))
        if starts not in self._known:
            self._known[starts] = self._walk(starts)
        return self._known[starts]

    def modules(self, entry: str, modules: Sequence[str] = ()) -> tuple[str, ...]:
        """All project modules that can be reached, packages before what is in them."""
        self.digest(entry, modules)
        return self._modules[(entry.partition(":")[0], *sorted(modules))]

    def forget(self) -> None:
        """Look at the files again at the next call."""
        for memo in (self._known, self._files, self._sources):
            memo.clear()

    def save(self) -> None:
        """Keep the memo for the next process."""
        self._cache.save()

    def _walk(self, starts: tuple[str, ...]) -> CodeDigest:
        sources: dict[str, str] = {}
        packages: dict[str, str] = {}
        waiting = [name for start in starts for name in _with_parents(start)]
        while waiting:
            name = waiting.pop()
            if name in sources:
                continue
            source = self._source(name)
            sources[name] = source.digest
            for module in source.modules:
                top = module.partition(".")[0]
                if top.startswith(PROJECT_PREFIX):
                    waiting.extend(_with_parents(module))
                elif top in NUMERIC_PACKAGES:
                    packages[NUMERIC_PACKAGES[top]] = package_version(NUMERIC_PACKAGES[top])
            waiting.extend(
                name
                for name in source.names
                if name.startswith(PROJECT_PREFIX) and name not in sources and self._file(name)
            )
        self._modules[starts] = tuple(sorted(sources))
        lines = [f"{name} {digest}" for name, digest in sorted(sources.items())]
        return CodeDigest(sha256_text("\n".join(lines)), dict(sorted(packages.items())))

    def _file(self, name: str) -> Path | None:
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
        status = file.stat()
        memo = f"{ANALYSIS_VERSION}:{file}"
        known = self._cache.get(memo, status)
        if known is None:
            source = analyse(name, file)
            self._cache.put(memo, status, [source.digest, source.modules, source.names])
            return source
        return ModuleSource(known[0], tuple(known[1]), tuple(known[2]))


def code_digest(entry: str) -> CodeDigest:
    """Digest of an entry point's code, computed from scratch."""
    return CodeIndex().digest(entry)


def _with_parents(name: str) -> Iterator[str]:
    """The module and every package above it: importing it runs them all."""
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def find_module(name: str) -> Path | None:
    """Source file of a module of an importable top-level package, without importing it."""
    top, *rest = name.split(".")
    for root in _package_folders(top):
        folder = Path(root, *rest)
        for candidate in (folder / "__init__.py", folder.with_suffix(".py")):
            if candidate.is_file() and (rest or candidate.name == "__init__.py"):
                return candidate
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
    """Read one module: hash its syntax tree, list its imports."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CodeError(f"{file}: cannot be parsed, so it has no digest: {error}") from error
    _remove_docstrings(tree)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    modules, names = _imports(tree, package)
    digest = sha256_text(ast.dump(tree, include_attributes=False))
    return ModuleSource(digest, tuple(sorted(modules)), tuple(sorted(names)))


def _remove_docstrings(tree: ast.AST) -> None:
    """Drop every statement that is only a string: docstrings and attribute docs run nothing."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [statement for statement in body if not _is_text(statement)]
            node.body = kept  # type: ignore[attr-defined]


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imports(tree: ast.AST, package: str) -> tuple[set[str], set[str]]:
    modules: set[str] = set()
    names: set[str] = set()
    for node in _running_nodes(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            modules.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            modules.update(_imported_by_name(node))
    return modules, names


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")
    base = base[: len(base) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _imported_by_name(call: ast.Call) -> Iterator[str]:
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called == "import_module" and call.args and isinstance(call.args[0], ast.Constant):
        name = call.args[0].value
        if isinstance(name, str) and not name.startswith("."):
            yield name
