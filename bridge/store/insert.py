"""Inserts that mind what is there already: the same words for both databases."""

from __future__ import annotations

from typing import Any

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
