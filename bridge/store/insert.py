"""Inserts that mind what is there already: the same words for both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge.store.tables import Base


def insert_into(session: Session, table: type[Base]) -> Any:
    """The session's own kind of INSERT, which knows ON CONFLICT."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return insert(table)


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row unless its key is taken; False then. Exactly one of many parallel inserts wins."""
    key = next(iter(table.__table__.primary_key))
    row = insert_into(session, table).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(row).first() is not None
