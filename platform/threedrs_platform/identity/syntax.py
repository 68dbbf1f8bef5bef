"""What of a module's source can change a number, as one text and its digest.

The text is the same under every version of Python that can parse the module. It holds the whole
syntax tree but for what runs nothing and what only words a message:

- comments, layout, docstrings and other bare constants, `pass`, the bodies of `if TYPE_CHECKING`;
- annotations of parameters, results and variables. They count in class bodies, where dataclasses
  and pydantic read them, where they call something, and under a decorator that may read them;
- sentences in the arguments of a raised error, of warnings and of log calls, and in the bodies of
  exception classes. A sentence is a string or f-string with a space in its literal parts, and what
  is formatted into it or added to it;
- the message of an `assert`.

What a message calls counts, but for Python's own formatting (`len(x)`, `", ".join(x)`): it may do
more than make text. A string without a space counts everywhere: it may be a name that somebody
compares, as in `StepFailed(text, "oom")`. So do strings given to functions that make an error. Out
of reach is a program that catches an error and reads its sentence: a value that travels with an
error needs a field of its own.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

REST = "<module>"
"""Name of what a module runs outside its functions and classes."""
WHOLE = "<order>"
"""Name of the whole module; it alone differs where definitions only changed places."""
NAME_DIGITS = 10
"""Length of the digests by name: they are compared with each other, and never looked up."""

_UNCOUNTED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}
COUNTED_FIELDS = {
    kind: tuple(sorted(set(kind._fields) - _UNCOUNTED_FIELDS))
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
"""Names of the fields that hold what can run, by kind of node; versions order them differently."""
_STATEMENT_FIELDS = {"body", "orelse", "finalbody"}
_ERROR_ENDINGS = ("Error", "Exception")
_RAISED_ENDINGS = (*_ERROR_ENDINGS, "Failed", "Missing", "Corrupt")
_LOG_NAMES = {"log", "logger", "logging", "getlogger"}
_LOG_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_BLIND_DECORATORS = {
    *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "lru_cache"),
    *("inference_mode", "no_grad", "once_differentiable", "overload", "override", "property"),
    *("setter", "staticmethod", "wraps"),
}
"""Decorators that read no annotations; any other may, as `singledispatch` and pydantic's do."""
_FORMATTERS = {
    *("abs", "all", "any", "enumerate", "float", "format", "int", "len", "list", "max", "min"),
    *("range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip"),
}
_EFFECTS = (ast.Call, ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
_MESSAGE_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.BinOp: ("left", "right"),
    ast.BoolOp: ("values",),
    ast.Call: ("args", "keywords"),
    ast.GeneratorExp: ("elt",),
    ast.IfExp: ("body", "orelse"),
    ast.List: ("elts",),
    ast.ListComp: ("elt",),
    ast.Starred: ("value",),
    ast.Tuple: ("elts",),
    ast.keyword: ("value",),
}
"""Where in an expression that makes a message parts of the message stand."""
_PLACE = "\0"
"""Starts the mark that a definition leaves in the text around it."""


@dataclass(frozen=True)
class ModuleSyntax:
    """Digests of what counts in one module."""

    digest: str
    names: dict[str, str]
    """Short digest by qualified name of each function, class (without its methods) and method;
    of the rest of the module (`REST`) and of all of it in its order (`WHOLE`)."""


def read_syntax(tree: ast.Module) -> ModuleSyntax:
    """Digests of a parsed module."""
    writer = _Writer()
    writer.statements(tree.body)
    pieces = [*writer.pieces, (REST, writer.out)]
    whole = _sha256("\n".join(f"{name} {''.join(parts)}" for name, parts in pieces))
    own: dict[str, str] = {}
    for name, parts in pieces:
        # A name may be defined twice: the getter and the setter of a property.
        own[name] = own.get(name, "") + "".join(p for p in parts if not p.startswith(_PLACE))
    digests = {**{name: _sha256(text) for name, text in own.items()}, WHOLE: whole}
    return ModuleSyntax(whole, {name: found[:NAME_DIGITS] for name, found in digests.items()})


def is_for_type_checkers(statement: ast.If) -> bool:
    """Whether the body never runs, for it stands under `if TYPE_CHECKING`."""
    test = statement.test
    if isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING":
        return isinstance(test.value, ast.Name) and test.value.id == "typing"
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


class _Writer:
    """Writes a syntax tree as text; each function, class and method becomes a piece of its own."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.pieces: list[tuple[str, list[str]]] = []
        self._scope: str | None = ""
        """What stands before the names of definitions; None inside functions."""
        self._in_class = False
        self._in_error = False
        self._reads_annotations = False
        self._special: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.AnnAssign: self._annotated,
            ast.Assert: self._assert,
            ast.AsyncFunctionDef: self._function,
            ast.ClassDef: self._class,
            ast.Constant: self._constant,
            ast.Expr: self._expression,
            ast.FunctionDef: self._function,
            ast.JoinedStr: self._f_string,
            ast.Raise: self._raise,
            ast.arg: self._parameter,
        }

    def statements(self, statements: Sequence[ast.stmt]) -> None:
        """Write those statements of a block that run something."""
        for statement in self._running(statements):
            self._write(statement)

    def _running(self, statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in statements:
            if isinstance(statement, ast.If) and is_for_type_checkers(statement):
                yield from self._running(statement.orelse)
            elif not self._runs_nothing(statement):
                yield statement

    def _runs_nothing(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Expr):
            return isinstance(statement.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            named = isinstance(statement.target, ast.Name)
            return named and not self._in_class and not _calls(statement.annotation)
        return isinstance(statement, ast.Pass)

    def _write(self, node: ast.AST) -> None:
        if self._in_error and _is_sentence(node):
            self._sentence(node)
        else:
            self._special.get(type(node), self._node)(node)

    def _node(self, node: ast.AST, message_fields: Sequence[str] = ()) -> None:
        self.out.append("(" + type(node).__name__)
        for name in COUNTED_FIELDS[type(node)]:
            value = getattr(node, name, None)
            if isinstance(value, list) and name in _STATEMENT_FIELDS:
                value = list(self._running(value))
            if value is None or value == [] or (name == "returns" and not self._counts(value)):
                continue
            self.out.append(f" {name}=")
            write = self._message if name in message_fields else self._write
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    write(part)
                else:
                    self.out.append(ascii(part) + ",")
        self.out.append(")")

    def _constant(self, node: ast.Constant) -> None:
        self.out.append(f"({node.value!a})")

    def _definition(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if self._scope is None:
            return self._node(node)
        name, around, self.out = self._scope + node.name, self.out, []
        self._scope = f"{name}." if isinstance(node, ast.ClassDef) else None
        self._node(node)
        self.pieces.append((name, self.out))
        self.out = around
        self.out.append(_PLACE + name)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before = self._scope, self._in_class, self._reads_annotations
        decorators = {last_name(decorator) for decorator in node.decorator_list}
        self._in_class, self._reads_annotations = False, not decorators <= _BLIND_DECORATORS
        self._definition(node)
        self._scope, self._in_class, self._reads_annotations = before

    def _parameter(self, node: ast.arg) -> None:
        self.out.append("(" + node.arg)
        if node.annotation is not None and self._counts(node.annotation):
            self._write(node.annotation)
        self.out.append(")")

    def _counts(self, annotation: ast.expr) -> bool:
        return self._in_class or self._reads_annotations or _calls(annotation)

    def _class(self, node: ast.ClassDef) -> None:
        before = self._scope, self._in_class, self._in_error
        # Not by its own name: a metric may be called MeanSquaredError.
        self._in_error = any(last_name(base).endswith(_ERROR_ENDINGS) for base in node.bases)
        self._in_class = True
        self._definition(node)
        self._scope, self._in_class, self._in_error = before

    def _annotated(self, node: ast.AnnAssign) -> None:
        if self._in_class or _calls(node.annotation):
            self._node(node)
        elif node.value is None:
            self._node(ast.Expr(node.target))
        else:
            self._node(ast.Assign([node.target], node.value))

    def _f_string(self, node: ast.JoinedStr) -> None:
        """Versions of Python cut the literal parts differently."""
        self.out.append("(f")
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            self.out.append(ascii(text))
            self._write(part)
            text = ""
        self.out.append(ascii(text) + ")")

    def _raise(self, node: ast.Raise) -> None:
        error = node.exc
        if isinstance(error, ast.Call) and last_name(error.func).endswith(_RAISED_ENDINGS):
            self._node(node, ("exc",))
        else:
            self._node(node)

    def _assert(self, node: ast.Assert) -> None:
        self.out.append("(Assert")
        self._write(node.test)
        if node.msg is not None:
            self._effects(node.msg)
        self.out.append(")")

    def _expression(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and _is_warning(node.value.func):
            self._node(node.value, _MESSAGE_FIELDS[ast.Call])
        else:
            self._node(node)

    def _message(self, node: ast.AST) -> None:
        """Write an expression that a message is made of: its structure, without sentences."""
        if _is_sentence(node):
            self._sentence(node)
        elif isinstance(node, ast.Call) and not _is_class(node.func):
            self._write(node)
        elif type(node) in _MESSAGE_FIELDS:
            self._node(node, _MESSAGE_FIELDS[type(node)])
        else:
            self._write(node)

    def _sentence(self, node: ast.AST) -> None:
        self.out.append("(sentence")
        self._effects(node)
        self.out.append(")")

    def _effects(self, node: ast.AST) -> None:
        """Write what an expression may do besides making text."""
        if isinstance(node, _EFFECTS) and not _is_formatting(node):
            self._special.get(type(node), self._node)(node)
        else:
            for child in ast.iter_child_nodes(node):
                self._effects(child)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _calls(annotation: ast.expr) -> bool:
    return any(isinstance(node, _EFFECTS) for node in ast.walk(annotation))


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, of `c(...)` and of `c[...]`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_class(function: ast.expr) -> bool:
    return last_name(function).lstrip("_")[:1].isupper()


def _is_warning(function: ast.expr) -> bool:
    name = last_name(function)
    if name in _LOG_LEVELS and isinstance(function, ast.Attribute):
        return last_name(function.value).lower().lstrip("_") in _LOG_NAMES
    return name == "warn"


def _is_sentence(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and " " in node.value
    if isinstance(node, ast.JoinedStr):
        return any(_is_sentence(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return _is_sentence(node.left) or _is_sentence(node.right)
    template = _template(node)
    return template is not None and _is_sentence(template)


def _is_formatting(node: ast.AST) -> bool:
    """Whether a node is a call that only makes text: `len(x)`, `", ".join(x)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in _FORMATTERS
    return isinstance(_template(node), ast.Constant | ast.JoinedStr)


def _template(node: ast.AST) -> ast.expr | None:
    """`text` of `text.format(...)` and `text.join(...)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.value if node.func.attr in ("format", "join") else None
    return None
