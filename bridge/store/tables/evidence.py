"""Evidence: statements, what has reached which LRS, and who changed what."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from bridge.store.tables.base import Base, BigId
from bridge.store.types import now


class Statement(Base):
    """An xAPI statement, as bytes that never change: the bridge's own and those that the built-in LRS received."""

    __tablename__ = "statement"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[dt.datetime] = mapped_column(default=now)
    timestamp: Mapped[dt.datetime]
    #: Canonical form of the actor's one inverse functional identifier.
    actor: Mapped[str]
    verb: Mapped[str]
    object_id: Mapped[str]
    registration: Mapped[uuid.UUID | None]
    authority: Mapped[str]
    voided_by: Mapped[uuid.UUID | None]
    #: The outcome or launch that it reports; null for what others sent to the built-in LRS.
    launch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("launch.id"), index=True)
    outcome_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("outcome.id"), index=True)
    __table_args__ = (
        Index("ix_statement_actor", "actor", "stored"),
        Index("ix_statement_verb", "verb", "stored"),
        Index("ix_statement_object", "object_id", "stored"),
        Index("ix_statement_registration", "registration"),
        Index("ix_statement_stored", "stored"),
    )


class Outbox(Base):
    """A statement on its way to one destination. Narrow on purpose: claiming and settling rewrite only these rows."""

    __tablename__ = "outbox"
    statement_seq: Mapped[int] = mapped_column(BigId, ForeignKey("statement.seq"), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column(default=now)
    lease: Mapped[str | None]
    __table_args__ = (Index("ix_outbox_due", "connection_id", "due_at"),)


class StatementReceipt(Base):
    """A destination has the statement: "delivered", or it refused it: "rejected", with its own words."""

    __tablename__ = "statement_receipt"
    statement_seq: Mapped[int] = mapped_column(BigId, ForeignKey("statement.seq"), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    state: Mapped[str]
    error: Mapped[str | None]
    settled_at: Mapped[dt.datetime] = mapped_column(default=now)
    __table_args__ = (CheckConstraint("state in ('delivered', 'rejected')", name="state"),)


class Audit(Base):
    """Who changed what: configuration, credentials, people. Values of secrets are never in it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[dt.datetime] = mapped_column(default=now, index=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
