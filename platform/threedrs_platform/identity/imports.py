"""Which project modules a module's source may load, and where only a running program could tell.

Imports inside functions count; imports under `if TYPE_CHECKING` do not, for they never run.
`import_module("name")` is followed like an import statement, and so is `package.module` where only
the package was imported. Whatever else runs code by a name or text is listed, for it cannot be
followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from threedrs_platform.identity.syntax import COUNTED_FIELDS, is_for_type_checkers, last_name

PROJECT_PREFIX = "threedrs_"
EVERYTHING = "*"
"""Last part of the name that `from package import *` imports."""

_IMPORTERS = {"import_module", "__import__"}
_BUILTINS = {"eval", "exec"}
_LOADERS = {*_IMPORTERS, "SourceFileLoader", "run_module", "run_path", "spec_from_file_location"}


@dataclass(frozen=True)
class Imports:
    """What one module loads."""

    modules: tuple[str, ...]
    """Absolute names of imported modules."""
    names: tuple[str, ...]
    """Absolute names of what is used of project modules; each may be a module itself."""
    unknown: tuple[str, ...]
    """What cannot be followed, with its line: `12: import_module(name)`."""


def find_imports(tree: ast.Module, package: str) -> Imports:
    """The imports of a parsed module.

    Args:
        package: the module's own name if it is a package, else the package it is in.
    """
    finder = _Finder(package)
    uses = []
    for node in _running_nodes(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            uses.append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            finder.bind(node)
    for use in uses:
        finder.use(use)
    unknown = (f"{line}: {text}" for line, text in sorted(finder.unknown))
    return Imports(tuple(sorted(finder.modules)), tuple(sorted(finder.names)), tuple(unknown))


def _running_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, ast.If) and is_for_type_checkers(node):
            waiting.append(node.orelse)
        elif isinstance(node, ast.AST):
            yield node
            waiting.extend([getattr(node, name, None) for name in COUNTED_FIELDS[type(node)]])


@dataclass
class _Finder:
    """Goes over a module's nodes twice: what do names stand for, and what is done with them."""

    package: str
    modules: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    unknown: set[tuple[int, str]] = field(default_factory=set)
    _bound: dict[str, set[str]] = field(default_factory=dict)
    """What a local name, of whatever scope, stands for in the project."""
    _seen: set[ast.expr] = field(default_factory=set)
    """Mentions of an importer that need no second look."""

    def bind(self, node: ast.Import | ast.ImportFrom | ast.Call) -> None:
        """Note an import, by statement or by a literal name."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.modules.add(alias.name)
                top = alias.name.partition(".")[0]
                self._bind(alias.asname or top, alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom):
            module = self._absolute(node)
            self.modules.add(module)
            for alias in node.names:
                place = f"{module}.{alias.name}"
                self._bind(alias.asname or alias.name, place)
                if place.startswith(PROJECT_PREFIX):
                    self.names.add(place)
                if alias.asname and alias.name in _LOADERS | _BUILTINS:
                    self._refuse(node)
        elif not isinstance(node.func, ast.Call) and last_name(node.func) in _IMPORTERS:
            self._call(node)

    def use(self, node: ast.Attribute | ast.Name) -> None:
        """Note `package.module`, and any other use of what loads code."""
        if isinstance(node, ast.Attribute):
            self._submodule(node)
            hidden = node.attr in _BUILTINS and last_name(node.value) == "builtins"
            if hidden or (node.attr in _LOADERS and node not in self._seen):
                self._refuse(node)
        elif node.id in _LOADERS | _BUILTINS and node not in self._seen:
            self._refuse(node)

    def _submodule(self, node: ast.Attribute) -> None:
        path = [node.attr]
        value = node.value
        while isinstance(value, ast.Attribute):
            path.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name) and value.id in self._bound:
            rest = ".".join(reversed(path))
            self.names.update(f"{place}.{rest}" for place in self._bound[value.id])

    def _call(self, importer: ast.Call) -> None:
        name = _literal(importer)
        self._seen.add(importer.func)
        if name is None:
            self._refuse(importer)
        else:
            self.modules.add(name)

    def _bind(self, name: str, place: str) -> None:
        if place.startswith(PROJECT_PREFIX):
            self._bound.setdefault(name, set()).add(place)

    def _refuse(self, node: ast.expr | ast.stmt) -> None:
        self.unknown.add((node.lineno, ast.unparse(node)))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = self.package.split(".")
        above = above[: len(above) - node.level + 1]
        return ".".join([*above, node.module] if node.module else above)


def _literal(call: ast.Call) -> str | None:
    """The absolute name in `import_module("name")`; None for any other call."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if len(given) != 1 or not isinstance(given[0], ast.Constant):
        return None
    name = given[0].value
    return name if isinstance(name, str) and not name.startswith(".") else None
