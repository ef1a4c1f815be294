"""Statements straight to the database's driver, for the few that every row of a long queue passes through.

SQLAlchemy takes longer to hand a statement on than SQLite to do it, and psycopg gives bytes as they are, without a
detour over hexadecimal text, only to a cursor that asks for it.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

Row = tuple[Any, ...]


class Driver:
    """The driver under a transaction. Parameters are ``:named``; rows are tuples, ids text, times what the driver has.

    A list of numbers is the text of an array on PostgreSQL and of a JSON array on SQLite.
    """

    def __init__(self, transaction: Connection) -> None:
        self._raw: Any = transaction.connection.driver_connection
        self.dialect = transaction.dialect.name

    def run(self, statement: str, **values: Any) -> list[Row]:
        """Run one statement; returns what it returns."""
        return _rows(self._execute(statement, values))

    def run_all(self, statements: Iterable[str], **values: Any) -> list[list[Row]]:
        """Run some statements with the same values; on PostgreSQL in one round trip."""
        if self.dialect == "sqlite":
            return [self.run(statement, **values) for statement in statements]
        with self._raw.pipeline():
            cursors = [self._execute(statement, values) for statement in statements]
        return [_rows(cursor) for cursor in cursors]

    def _execute(self, statement: str, values: Mapping[str, Any]) -> Any:
        if self.dialect == "sqlite":
            return self._raw.execute(statement, {name: _for_sqlite(value) for name, value in values.items()})
        given = {name: _for_postgresql(value) for name, value in values.items()}
        # A prepared statement keeps a plan that was made while a queue was short. To plan anew costs a claim nothing.
        return self._raw.cursor(binary=True).execute(_for_psycopg(statement), given, prepare=False)


def _rows(cursor: Any) -> list[Row]:
    return cursor.fetchall() if cursor.description else []


def moment(value: Any) -> dt.datetime | None:
    """A time that ``Driver.run`` returned, in UTC."""
    if value is None:
        return None
    at = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.astimezone(dt.UTC) if at.tzinfo else at.replace(tzinfo=dt.UTC)


@functools.cache
def _for_psycopg(statement: str) -> str:
    return re.sub(r":([a-z_]+)", r"%(\1)s", statement)


def _for_sqlite(value: Any) -> Any:
    if isinstance(value, dt.datetime):  # as SQLAlchemy writes it
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return json.dumps(value) if isinstance(value, list) else value


def _for_postgresql(value: Any) -> Any:
    return f"{{{','.join(map(str, value))}}}" if isinstance(value, list) else value
