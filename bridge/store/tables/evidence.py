"""Evidence: statements, what has reached which LRS, and who changed what."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from bridge.store.tables.base import Base, BigId
from bridge.store.types import now


class Statement(Base):
    """An xAPI statement, as bytes that never change: the bridge's own and those that the built-in LRS received.

    ``payload`` has each property as it came, with the ``id`` and ``timestamp`` that were given to it here where it came
    without, and without ``stored`` and ``authority``, which are each LRS's own. It is what destinations get.
    """

    __tablename__ = "statement"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    stored: Mapped[dt.datetime] = mapped_column(default=now)
    timestamp: Mapped[dt.datetime]
    #: The rules by which it was taken: "1.0.0" or "2.0.0", what its property ``version`` says where it has none.
    version: Mapped[str] = mapped_column(default="1.0.0", server_default="1.0.0")
    #: Canonical form of the actor's one inverse functional identifier.
    actor: Mapped[str]
    verb: Mapped[str]
    object_id: Mapped[str]
    registration: Mapped[uuid.UUID | None]
    authority: Mapped[str]
    voided_by: Mapped[uuid.UUID | None]
    #: The launch that it is about: by the bridge's own word, or stated by the content that was launched.
    launch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("launch.id"), index=True)
    outcome_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("outcome.id"), index=True)
    __table_args__ = (
        Index("ix_statement_actor", "actor", "stored"),
        Index("ix_statement_actor_verb", "actor", "verb", "stored"),
        Index("ix_statement_authority", "authority", "stored"),
        Index("ix_statement_verb", "verb", "stored"),
        Index("ix_statement_object", "object_id", "stored"),
        Index("ix_statement_registration", "registration"),
        Index("ix_statement_stored", "stored"),
    )


class StatementMention(Base):
    """An agent or activity that a statement names elsewhere than as actor or object (``related_...`` of a query).

    ``mention`` is a hash of what is mentioned (``bridge.xapi.index.mention``): a few numbers for each statement
    instead of as many IRIs.
    """

    __tablename__ = "statement_mention"
    mention: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    stored: Mapped[dt.datetime] = mapped_column(primary_key=True)
    statement_seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class StatementReference(Base):
    """A statement whose object is another one, straight or through others: a query that finds that one finds it too."""

    __tablename__ = "statement_reference"
    target_seq: Mapped[int] = mapped_column(BigId, ForeignKey("statement.seq"), primary_key=True, autoincrement=False)
    statement_seq: Mapped[int] = mapped_column(BigId, ForeignKey("statement.seq"), primary_key=True, index=True)
    #: When ``statement_seq`` was stored: a query finds its newest without looking through all statements.
    stored: Mapped[dt.datetime]
    __table_args__ = (Index("ix_statement_reference_stored", "stored", "statement_seq"),)


class Attachment(Base):
    """The content of an attachment, once for all statements that carry it."""

    __tablename__ = "attachment"
    sha2: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime] = mapped_column(default=now)


class StatementAttachment(Base):
    """A statement came with the content of this attachment."""

    __tablename__ = "statement_attachment"
    statement_seq: Mapped[int] = mapped_column(BigId, ForeignKey("statement.seq"), primary_key=True)
    sha2: Mapped[str] = mapped_column(ForeignKey("attachment.sha2"), primary_key=True)


class Document(Base):
    """A document of the LRS: ``kind`` is "state", "activity_profile" or "agent_profile"; what it has not is ""."""

    __tablename__ = "document"
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str]
    activity: Mapped[str]
    agent: Mapped[str]
    registration: Mapped[str]
    #: ``document_id`` as an index holds it.
    key: Mapped[str]
    document_id: Mapped[str]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    content_type: Mapped[str]
    etag: Mapped[str]
    updated_at: Mapped[dt.datetime] = mapped_column(default=now)
    __table_args__ = (UniqueConstraint("kind", "activity", "agent", "registration", "key"),)


class Outbox(Base):
    """A statement on its way to one destination.

    As narrow as can be, and without foreign keys: it is written once and deleted once for each statement and
    destination, and nothing in it changes in between. Who works on it is in ``OutboxLease``.
    """

    __tablename__ = "outbox"
    connection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    statement_seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)


class OutboxLease(Base):
    """Somebody sends the rows from ``first_seq`` to ``last_seq`` to a destination, until ``until`` at the latest."""

    __tablename__ = "outbox_lease"
    token: Mapped[str] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), index=True)
    first_seq: Mapped[int] = mapped_column(BigInteger)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[dt.datetime]


class Destination(Base):
    """What all workers know of a destination of statements; whoever claims for it holds this row."""

    __tablename__ = "destination"
    connection_id: Mapped[int] = mapped_column(
        ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    #: The most bytes that it takes in one request, as its answers have taught; null while none was too large.
    most_bytes: Mapped[int | None]
    #: When it taught that.
    learned_at: Mapped[dt.datetime | None]
    #: The rate budget is spent up to then (generic cell rate algorithm); null where nothing was sent yet.
    spent_until: Mapped[dt.datetime | None]
    #: When it last took something.
    delivered_at: Mapped[dt.datetime | None]


class StatementReceipt(Base):
    """What became of a statement at a destination.

    "delivered": it is there. "rejected": refused by itself, with the destination's own words. "replaced": refused, and
    ``replaced_by`` stands in its place: an admin has sent that, or it voids this one. Without foreign keys, because
    there is one for each delivery.
    """

    __tablename__ = "statement_receipt"
    statement_seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    connection_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    error: Mapped[str | None]
    replaced_by: Mapped[int | None] = mapped_column(BigInteger)
    settled_at: Mapped[dt.datetime] = mapped_column(default=now)
    __table_args__ = (
        CheckConstraint("state in ('delivered', 'rejected', 'replaced')", name="state"),
        Index(
            "ix_statement_receipt_rejected",
            "connection_id",
            sqlite_where=text("state = 'rejected'"),
            postgresql_where=text("state = 'rejected'"),
        ),
        # Receipts are never deleted, and come in the order of time: what BRIN is for, at next to no cost.
        Index("ix_statement_receipt_settled_at", "settled_at", postgresql_using="brin"),
    )


class Reconciliation(Base):
    """One comparison of what a destination has with what the ledger says it has."""

    __tablename__ = "reconciliation"
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), index=True)
    started_at: Mapped[dt.datetime] = mapped_column(default=now)
    finished_at: Mapped[dt.datetime | None]
    #: It looked at what was stored there after ``since`` (null: ever) and up to ``through``, the Consistent-Through.
    since: Mapped[dt.datetime | None]
    through: Mapped[dt.datetime | None]
    matched: Mapped[int] = mapped_column(default=0)
    missing: Mapped[int] = mapped_column(default=0)
    different: Mapped[int] = mapped_column(default=0)
    foreign: Mapped[int] = mapped_column(default=0)
    voided: Mapped[int] = mapped_column(default=0)
    repaired: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]


class Difference(Base):
    """One statement that a reconciliation found to be "missing", "different", "foreign" or "voided", with the words."""

    __tablename__ = "difference"
    reconciliation_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("reconciliation.id", ondelete="CASCADE"), primary_key=True
    )
    statement_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    repaired_at: Mapped[dt.datetime | None]


class Audit(Base):
    """Who changed what: configuration, credentials, people. Values of secrets are never in it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[dt.datetime] = mapped_column(default=now, index=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
