"""Rows that exist at most once."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from bridge.store.tables import Base


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row unless its key is taken; False then. Exactly one of many parallel inserts wins."""
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    key = next(iter(table.__table__.primary_key))
    row = insert(table).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(row).first() is not None
