"""The `where` language of grids: names of settings, literals, comparisons, and, or, not, in.

Read with Python's parser into its syntax tree, of which a short list of node types is understood;
nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_platform.config.faults import shown
from threedrs_platform.config.suggestions import nearest_path
from threedrs_platform.errors import ConfigError, Fault

MAX_LENGTH = 2000
"""Characters; longer expressions are refused rather than risking the parser's stack."""

MOST_VALUES = 8
"""Of a setting that are named in one message."""
_WORDS = {"true": True, "false": False, "null": None}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNKNOWN_TO_US = (
    "is no part of the where language; it has names, literals, lists, "
    "== != < <= > >=, in, not in, and, or, not"
)


@dataclass(frozen=True)
class Where:
    """A condition on the settings of one cell."""

    text: str
    body: ast.expr

    def names(self) -> tuple[str, ...]:
        """Dotted names that the condition reads, in order of appearance."""
        return tuple(name for name, _ in _names(self.body))

    def holds(self, value_of: Callable[[str], Any]) -> bool:
        """Whether the condition is true.

        Args:
            value_of: value of a setting by its dotted name; None for one that a cell lacks.

        Raises:
            ConfigError: the values cannot be compared in this way, or the result is no truth value.
        """
        result = _evaluate(self.body, value_of)
        if not isinstance(result, bool):
            raise _mistake(self.body, f"gives {shown(result)}, not true or false; compare it")
        return result


def parse_where(text: str, known: Collection[str] | None = None) -> Where:
    """Read a condition; with `known`, every name in it must be one of these.

    Raises:
        ConfigError: its faults carry the column inside the text, from 1.
    """
    body = _parse(text)
    faults = list(_grammar_faults(body))
    if not faults and known is not None:
        faults = [_unknown(node, name, known) for name, node in _names(body) if name not in known]
    if faults:
        raise ConfigError(faults)
    return Where(text, body)


def values_told(condition: Where, cells: Sequence[Callable[[str], Any]]) -> str:
    """What the cells have for the names in a condition that holds for none of them.

    Args:
        condition: on the settings of a cell.
        cells: of each the value of a setting by its dotted name.
    """
    told = []
    for name in dict.fromkeys(condition.names()):
        texts = list(dict.fromkeys(_literal(value_of(name)) for value_of in cells))
        more = [f"{len(texts) - MOST_VALUES} more"] if len(texts) > MOST_VALUES else []
        told.append(f"{name} is {' or '.join([*texts[:MOST_VALUES], *more])}")
    return f"; here {', '.join(told)}" if told else ""


def _literal(value: Any) -> str:
    """A value as the language writes it."""
    return repr(value) if isinstance(value, str) else shown(value)


def same(left: Any, right: Any) -> bool:
    """Equality of configuration values: numbers by value, but true is not 1."""
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ConfigError([Fault(f"longer than {MAX_LENGTH} characters", column=1)])
    text = text.replace("\n", " ")
    if not text.isprintable():
        raise ConfigError([Fault("has characters that cannot be printed", column=1)])
    source = text.strip()
    shift = len(text) - len(text.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        message = f"cannot be read: {error.msg}{_syntax_hint(source)}"
        raise ConfigError([Fault(message, column=(error.offset or 1) + shift)]) from None
    except (ValueError, MemoryError, RecursionError):
        raise ConfigError([Fault("cannot be read", column=1)]) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset = len(source.encode()[: node.col_offset].decode()) + shift
    return tree.body


def _syntax_hint(source: str) -> str:
    for wrong, right in (("&&", "and"), ("||", "or"), ("!", "not")):
        if wrong in source.replace("!=", ""):
            return f"; write `{right}` for `{wrong}`"
    return "; write == to compare" if re.search(r"(?<![=!<>])=(?!=)", source) else ""


def _mistake(node: ast.expr, message: str) -> ConfigError:
    return ConfigError([_fault(node, message)])


def _fault(node: ast.expr, message: str) -> Fault:
    return Fault(message, column=node.col_offset + 1)


def _unknown(node: ast.expr, name: str, known: Collection[str]) -> Fault:
    hint = nearest_path(name, known)
    word = "" if hint or "." in name else f"; for the word itself write '{name}' in quotes"
    return _fault(node, f"unknown name {name!r}{hint}{word}")


def _grammar_faults(node: ast.expr) -> Iterator[Fault]:
    children: list[ast.expr] = []
    match node:
        case ast.BoolOp():
            children = node.values
        case ast.UnaryOp(op=ast.Not()):
            children = [node.operand]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()) if _is_number(node.operand):
            pass
        case ast.Compare() if not any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            children = [node.left, *node.comparators]
        case ast.List() | ast.Tuple():
            children = node.elts
        case ast.Constant() if node.value is None or isinstance(node.value, (str, int, float)):
            pass
        case _ if _dotted(node):
            pass
        case _:
            yield _fault(node, f"{_called(node)} {_UNKNOWN_TO_US}")
    for child in children:
        yield from _grammar_faults(child)


def _called(node: ast.expr) -> str:
    match node:
        case ast.Call():
            return "a call"
        case ast.BinOp():
            return "arithmetic"
        case ast.Compare():
            return "`is`"
        case ast.Subscript():
            return "an index"
    return f"this {type(node).__name__.lower()}"


def _is_number(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
    )


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = _dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""


def _names(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    name = _dotted(node)
    if name and name not in _WORDS:
        yield name, node
    elif not name:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _names(child)


def _evaluate(node: ast.expr, value_of: Callable[[str], Any]) -> Any:
    match node:
        case ast.BoolOp():
            wanted = isinstance(node.op, ast.Or)
            found = wanted in (_truth(value, value_of) for value in node.values)
            return found == wanted
        case ast.UnaryOp(op=ast.Not()):
            return not _truth(node.operand, value_of)
        case ast.UnaryOp():
            number: Any = _evaluate(node.operand, value_of)
            return -number if isinstance(node.op, ast.USub) else number
        case ast.Compare():
            return _compare(node, value_of)
        case ast.List() | ast.Tuple():
            return [_evaluate(item, value_of) for item in node.elts]
        case ast.Constant():
            return node.value
    name = _dotted(node)
    return _WORDS[name] if name in _WORDS else value_of(name)


def _truth(node: ast.expr, value_of: Callable[[str], Any]) -> bool:
    value = _evaluate(node, value_of)
    if not isinstance(value, bool):
        raise _mistake(node, f"is {shown(value)} here, not true or false; compare it")
    return value


def _compare(node: ast.Compare, value_of: Callable[[str], Any]) -> bool:
    left = _evaluate(node.left, value_of)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(comparator, value_of)
        if not _relation(node, op, left, right):
            return False
        left = right
    return True


def _relation(node: ast.Compare, op: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return same(left, right) == isinstance(op, ast.Eq)
    if isinstance(op, (ast.In, ast.NotIn)):
        if not isinstance(right, (list, tuple)):
            raise _mistake(node, f"`in` needs a list on its right, not {shown(right)}")
        return any(same(left, item) for item in right) == isinstance(op, ast.In)
    if not _ordered(left, right):
        raise _mistake(node, f"{shown(left)} and {shown(right)} have no order")
    return _ORDER[type(op)](left, right)


def _ordered(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return True
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in (left, right)
    )
