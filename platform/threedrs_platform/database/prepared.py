"""Statements that are run thousands of times: composed and compiled once, then sent as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult

Values = Mapping[str, Any]


class Prepared:
    """One statement of SQLAlchemy's core; to compose its text anew costs more than to run it.

    Its rows come as the driver gives them: a boolean of SQLite is 0 or 1.
    """

    def __init__(self, statement: Any, columns: Iterable[str] = ()) -> None:
        """Take a statement whose parameters are plain values.

        Args:
            statement: not yet compiled.
            columns: of an insert or update, those that get their values from each call.
        """
        self._statement, self._columns = statement, list(columns) or None
        self._compiled: dict[str, tuple[str, Sequence[str] | None, dict[str, Any]]] = {}

    def run(self, connection: Connection, values: Values) -> CursorResult[*tuple[Any, ...]]:
        """Run it once."""
        text, order, fixed = self._for(connection)
        return connection.exec_driver_sql(text, _arguments(order, fixed, values))

    def run_many(self, connection: Connection, rows: Iterable[Values]) -> None:
        """Run it for each row, if there is any."""
        text, order, fixed = self._for(connection)
        arguments: Any = [_arguments(order, fixed, values) for values in rows]
        if arguments:
            connection.exec_driver_sql(text, arguments)

    def _for(self, connection: Connection) -> tuple[str, Sequence[str] | None, dict[str, Any]]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            made = self._statement.compile(dialect=dialect, column_keys=self._columns)
            binds = {name: made.binds[name] for name in made.params}
            fixed = {name: each.value for name, each in binds.items() if not each.required}
            self._compiled[dialect.name] = (str(made), made.positiontup, fixed)
        return self._compiled[dialect.name]


def _arguments(order: Sequence[str] | None, fixed: dict[str, Any], values: Values) -> Any:
    known = {**fixed, **values}
    return known if order is None else tuple([known[name] for name in order])
