"""Inserts that mind what is there already: the same words for both databases."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, column, func, select
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge.store.tables import Base


def insert_into(db: Session | SqlConnection, table: type[Base]) -> Any:
    """The database's own kind of INSERT, which knows ON CONFLICT."""
    dialect = db.get_bind().dialect if isinstance(db, Session) else db.dialect
    return (sqlite if dialect.name == "sqlite" else postgresql).insert(table)


def insert_once(db: Session | SqlConnection, table: type[Base], **values: Any) -> bool:
    """Insert a row unless its key is taken; False then. Exactly one of many parallel inserts wins."""
    key = next(iter(table.__table__.primary_key))
    row = insert_into(db, table).values(**values).on_conflict_do_nothing().returning(key)
    return db.execute(row).first() is not None


def insert_new(db: SqlConnection, table: type[Base], rows: Sequence[Mapping[str, Any]], *returning: Any) -> Any:
    """Insert those of many rows whose keys are not taken; all have the same columns. Returns the result.

    On PostgreSQL each column goes as one array: the statement is then the same for any number of rows, and is put
    together, split and prepared once.
    """
    if db.dialect.name == "sqlite":
        made = sqlite.insert(table).on_conflict_do_nothing()
        return db.execute(made.returning(*returning) if returning else made, rows)
    names = tuple(rows[0])
    return db.execute(_from_arrays(table, names, returning), {name: [row[name] for row in rows] for name in names})


@functools.cache
def _from_arrays(table: type[Base], names: tuple[str, ...], returning: tuple[Any, ...]) -> Any:
    types = {name: table.__table__.c[name].type for name in names}
    arrays = [bindparam(name, type_=postgresql.ARRAY(kind)) for name, kind in types.items()]
    source = func.unnest(*arrays).table_valued(*(column(name, kind) for name, kind in types.items())).render_derived()
    made = postgresql.insert(table).from_select(names, select(source), include_defaults=False).on_conflict_do_nothing()
    return made.returning(*returning) if returning else made


def among(db: SqlConnection, of: Any, values: Collection[Any]) -> ColumnElement[bool]:
    """Is ``of`` one of these? On PostgreSQL as one array, for the same reason."""
    if db.dialect.name == "sqlite":
        return of.in_(values)  # type: ignore[no-any-return]
    return of == func.any(bindparam(None, list(values), type_=postgresql.ARRAY(of.type)))  # type: ignore[no-any-return]
