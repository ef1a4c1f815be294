"""What every table is made of, and the part of those that wait for a worker."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Integer, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bridge.store.types import Json, Utc, now

#: SQLite counts only INTEGER PRIMARY KEY.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dt.datetime: Utc, dict[str, Any]: Json, list[Any]: Json, list[str]: Json, str: Text}  # noqa: RUF012


class Queued:
    """A row that waits for a worker.

    It is due while ``due_at`` is not null and in the past. A claim sets ``lease`` to a random token and moves
    ``due_at`` to the end of the lease, so that the work of a killed worker comes back by itself.
    """

    due_at: Mapped[dt.datetime | None] = mapped_column(default=now)
    lease: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
