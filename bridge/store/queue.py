"""Claims under a lease, the one way in which work leaves a table.

A claim is one statement, so two workers never get the same row; a lease that ran out gives the row back by itself.
Settling what was done needs no fence (whoever did it, it is done); giving up does: only the holder of the lease may.
"""

from __future__ import annotations

import datetime as dt
import random
import secrets
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, select, tuple_, update
from sqlalchemy.orm import Session

from bridge.store.types import now

Row = TypeVar("Row")


def claim(
    session: Session, table: type[Row], *, limit: int, lease_seconds: float, where: ColumnElement[bool] | None = None
) -> tuple[str, Sequence[Row]]:
    """Take up to ``limit`` due rows of ``table``, oldest first; returns the lease's token and the rows."""
    entity: Any = table
    token, at = secrets.token_hex(8), now()
    keys = list(entity.__table__.primary_key.columns)
    due = select(*keys).where(entity.due_at.is_not(None), entity.due_at <= at)
    if where is not None:
        due = due.where(where)
    due = due.order_by(entity.due_at).limit(limit).with_for_update(skip_locked=True)
    values: dict[str, Any] = {"lease": token, "due_at": at + dt.timedelta(seconds=lease_seconds)}
    if hasattr(entity, "attempts"):
        values["attempts"] = entity.attempts + 1
    key: Any = tuple_(*keys) if len(keys) > 1 else keys[0]
    taken = update(entity).where(key.in_(due)).values(values).returning(entity)
    rows = session.scalars(taken, execution_options={"synchronize_session": False, "populate_existing": True}).all()
    return token, rows


def held(table: type[Any], token: str) -> ColumnElement[bool]:
    """The condition that a lease is still ours: the fence of every release and every verdict."""
    return and_(table.lease == token, table.due_at.is_not(None))


def back_off(attempts: int, *, retry_after: float | None = None, cap: float = 900.0) -> dt.datetime:
    """When to try again: the other side's Retry-After, else exponential with full jitter."""
    exponential = random.uniform(0.5, min(cap, 2.0 ** min(attempts, 12)))  # noqa: S311
    return now() + dt.timedelta(seconds=retry_after if retry_after is not None else exponential)
