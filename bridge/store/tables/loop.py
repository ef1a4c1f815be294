"""The loop: systems and their catalogues, people, rules, and the way from an event to an outcome."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bridge.store.tables.base import Base, Queued
from bridge.store.types import now


class Connection(Base):
    """One configured instance of a connector."""

    __tablename__ = "connection"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    connector: Mapped[str]
    config: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    enabled: Mapped[bool] = mapped_column(default=True)
    #: Set by a ConfigError, cleared by a success or a new configuration.
    problem: Mapped[str | None]
    #: Until then nothing is sent there: its own Retry-After, or a back-off.
    paused_until: Mapped[dt.datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    #: When it is asked for events next.
    poll_at: Mapped[dt.datetime] = mapped_column(default=now)
    updated_at: Mapped[dt.datetime] = mapped_column(default=now, onupdate=now)


class Checkpoint(Base):
    """Where a stream of a connection ("events", "people") left off."""

    __tablename__ = "checkpoint"
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
    updated_at: Mapped[dt.datetime] = mapped_column(default=now, onupdate=now)


class SyncRun(Base):
    """One walk over a catalogue; unfinished ones are resumed from ``checkpoint``."""

    __tablename__ = "sync_run"
    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), index=True)
    started_at: Mapped[dt.datetime] = mapped_column(default=now)
    #: When it kept its newest page: a walk that does not move any more may be resumed by another worker.
    moved_at: Mapped[dt.datetime] = mapped_column(default=now)
    finished_at: Mapped[dt.datetime | None]
    checkpoint: Mapped[dict[str, Any] | None]
    pages: Mapped[int] = mapped_column(default=0)
    seen: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    retired: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    #: It showed the whole catalogue: the next walk does so again, instead of going on after ``checkpoint``.
    swept: Mapped[bool] = mapped_column(default=True)
    error: Mapped[str | None]


class SyncPage(Base):
    """The external ids of one page of an unfinished walk: what no page shows is retired at its end."""

    __tablename__ = "sync_page"
    run_id: Mapped[int] = mapped_column(ForeignKey("sync_run.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    external_ids: Mapped[list[str]]


class Asset(Base):
    """An asset of a catalogue. Gone ones are retired, never deleted: evidence points to them."""

    __tablename__ = "asset"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"))
    external_id: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str]
    summary: Mapped[str]
    language: Mapped[str]
    duration_seconds: Mapped[int | None]
    tags: Mapped[list[str]]
    activity_id: Mapped[str]
    opening: Mapped[dict[str, Any] | None]
    fingerprint: Mapped[str] = mapped_column(String(32))
    retired_at: Mapped[dt.datetime | None]
    updated_at: Mapped[dt.datetime] = mapped_column(default=now)
    connection: Mapped[Connection] = relationship()
    __table_args__ = (UniqueConstraint("connection_id", "external_id"),)


class Person(Base):
    """One human."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    email: Mapped[str] = mapped_column(default="", index=True)
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: "admin" opens the console; everybody else sees only what is theirs.
    role: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str | None]
    #: The password was printed once and must be replaced at the first sign-in.
    password_once: Mapped[bool] = mapped_column(default=False)
    #: Kept out of ``export``: made by the first start, not by configuration.
    built_in: Mapped[bool] = mapped_column(default=False)
    accounts: Mapped[list[Account]] = relationship(back_populates="person", cascade="all, delete-orphan")


class Account(Base):
    """An account of a person in one system."""

    __tablename__ = "account"
    issuer: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    person: Mapped[Person] = relationship(back_populates="accounts")


class Rule(Base):
    """A rule as configured; ``version`` counts its changes, so that a decision says which text made it."""

    __tablename__ = "rule"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    event_type: Mapped[str] = mapped_column(index=True)
    definition: Mapped[dict[str, Any]]
    version: Mapped[int] = mapped_column(default=1)
    enabled: Mapped[bool] = mapped_column(default=True)
    removed_at: Mapped[dt.datetime | None]


class Event(Queued, Base):
    """A business event; queued until the rules have decided on it."""

    __tablename__ = "event"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"))
    external_id: Mapped[str]
    type: Mapped[str]
    source: Mapped[str]
    subject: Mapped[str]
    time: Mapped[dt.datetime]
    data: Mapped[dict[str, Any]]
    people: Mapped[dict[str, Any]]
    received_at: Mapped[dt.datetime] = mapped_column(default=now)
    decided_at: Mapped[dt.datetime | None]
    connection: Mapped[Connection] = relationship()
    __table_args__ = (
        UniqueConstraint("connection_id", "external_id"),
        Index("ix_event_due_at", "due_at"),
        Index("ix_event_received_at", "received_at"),
    )


class Prompt(Base):
    """One decision of one rule on one event, also a no; ``reason`` says why in a word, ``detail`` in words."""

    __tablename__ = "prompt"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("event.id"), index=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("rule.id"))
    rule_version: Mapped[int]
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    asset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("asset.id"))
    offered: Mapped[bool]
    reason: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    say: Mapped[str] = mapped_column(default="")
    subject: Mapped[str] = mapped_column(default="")
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    dismissed_at: Mapped[dt.datetime | None]
    event: Mapped[Event] = relationship()
    rule: Mapped[Rule] = relationship()
    person: Mapped[Person | None] = relationship()
    asset: Mapped[Asset | None] = relationship()
    __table_args__ = (
        Index("ix_prompt_limits", "rule_id", "person_id", "created_at"),
        Index("ix_prompt_person", "person_id", "created_at"),
        Index("ix_prompt_created_at", "created_at"),
    )


class Unmatched(Base):
    """A person of an event whom nobody could name for sure: kept until an admin says who it is."""

    __tablename__ = "unmatched"
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompt.id", ondelete="CASCADE"), primary_key=True)
    issuer: Mapped[str]
    account_id: Mapped[str]
    email: Mapped[str]
    candidates: Mapped[list[Any]]
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    resolved_at: Mapped[dt.datetime | None]
    prompt: Mapped[Prompt] = relationship()


class Delivery(Queued, Base):
    """One prompt through one channel: "widget", or the name of a connection."""

    __tablename__ = "delivery"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompt.id"), index=True)
    channel: Mapped[str]
    #: waiting, shown (the widget has it), delivered, failed, withdrawn
    state: Mapped[str] = mapped_column(default="waiting")
    receipt: Mapped[dict[str, Any] | None]
    delivered_at: Mapped[dt.datetime | None]
    prompt: Mapped[Prompt] = relationship()
    __table_args__ = (UniqueConstraint("prompt_id", "channel"), Index("ix_delivery_due_at", "due_at"))


class Ticket(Base):
    """The opaque id in a launch link, kept as a hash: whoever reads the database can't open launches with it."""

    __tablename__ = "ticket"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompt.id"), index=True)
    expires_at: Mapped[dt.datetime]
    uses_left: Mapped[int]
    revoked_at: Mapped[dt.datetime | None]
    prompt: Mapped[Prompt] = relationship()


class Launch(Base):
    """One opening of an asset by one person; its id is the xAPI registration."""

    __tablename__ = "launch"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    prompt_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("prompt.id"), index=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    asset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("asset.id"))
    how: Mapped[str]
    started_at: Mapped[dt.datetime] = mapped_column(default=now)
    completed_at: Mapped[dt.datetime | None]
    success: Mapped[bool | None]
    score: Mapped[float | None] = mapped_column(Float)
    #: Ticked steps of a checklist.
    progress: Mapped[list[str]] = mapped_column(default=list)
    prompt: Mapped[Prompt] = relationship()
    person: Mapped[Person] = relationship()
    asset: Mapped[Asset] = relationship()
    __table_args__ = (
        Index("ix_launch_completed", "person_id", "asset_id", "completed_at"),
        Index("ix_launch_completed_at", "completed_at"),
        Index("ix_launch_asset", "asset_id", "started_at"),
        Index("ix_launch_started_at", "started_at"),
    )


class Outcome(Base):
    """What came of a launch: kept as it came, one row per report; ``source`` says from where (ags, checklist, page)."""

    __tablename__ = "outcome"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    launch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("launch.id"), index=True)
    source: Mapped[str]
    verb: Mapped[str]
    completed: Mapped[bool]
    success: Mapped[bool | None]
    score: Mapped[float | None] = mapped_column(Float)
    occurred_at: Mapped[dt.datetime] = mapped_column(index=True)
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    launch: Mapped[Launch] = relationship()


class WriteBack(Queued, Base):
    """One outcome on its way into the system of record."""

    __tablename__ = "write_back"
    outcome_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("outcome.id"), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    #: waiting, recorded, failed
    state: Mapped[str] = mapped_column(default="waiting")
    receipt: Mapped[dict[str, Any] | None]
    outcome: Mapped[Outcome] = relationship()
    connection: Mapped[Connection] = relationship()
    __table_args__ = (Index("ix_write_back_due_at", "due_at"),)
