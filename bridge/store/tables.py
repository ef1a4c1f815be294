"""The tables.

Each hop of the way stores the id of the hop before: event, prompt, delivery, launch, outcome, statement. Work that
waits for a worker lives in rows with a :class:`Queued` part; the row, not the broker, is the record of truth.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from bridge.store.types import Json, Utc, now

_BigId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts only INTEGER PRIMARY KEY


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


class Statement(Base):
    """An xAPI statement, as bytes that never change: the bridge's own and those that the built-in LRS received."""

    __tablename__ = "statement"
    seq: Mapped[int] = mapped_column(_BigId, primary_key=True, autoincrement=True)
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
    statement_seq: Mapped[int] = mapped_column(_BigId, ForeignKey("statement.seq"), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column(default=now)
    lease: Mapped[str | None]
    __table_args__ = (Index("ix_outbox_due", "connection_id", "due_at"),)


class StatementReceipt(Base):
    """A destination has the statement: "delivered", or it refused it: "rejected", with its own words."""

    __tablename__ = "statement_receipt"
    statement_seq: Mapped[int] = mapped_column(_BigId, ForeignKey("statement.seq"), primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id"), primary_key=True)
    state: Mapped[str]
    error: Mapped[str | None]
    settled_at: Mapped[dt.datetime] = mapped_column(default=now)
    __table_args__ = (CheckConstraint("state in ('delivered', 'rejected')", name="state"),)


class SignInSession(Base):
    """A signed-in browser. ``csrf`` is the double-submit secret of its forms."""

    __tablename__ = "sign_in_session"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    expires_at: Mapped[dt.datetime]
    #: How the person proved who they are: "password", "handoff", "lti", or the connection whose assertion said so.
    via: Mapped[str]
    #: "admin" where an LMS launched an administrator into the console; else the person's own role counts.
    role: Mapped[str] = mapped_column(default="", server_default="")
    #: The origins, apart by blanks, of the pages that may show this session's pages in a frame; "" for none.
    framed_by: Mapped[str] = mapped_column(default="", server_default="")
    person: Mapped[Person] = relationship()


class Credential(Base):
    """A key and secret for programs (API, LRS); only a hash of the secret is kept."""

    __tablename__ = "credential"
    key: Mapped[str] = mapped_column(primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    label: Mapped[str]
    scopes: Mapped[list[str]]
    connection_id: Mapped[int | None] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    revoked_at: Mapped[dt.datetime | None]


class SigningKey(Base):
    """An RSA key of the LTI platform and tool; ``private`` is encrypted."""

    __tablename__ = "signing_key"
    kid: Mapped[str] = mapped_column(primary_key=True)
    private: Mapped[bytes] = mapped_column(LargeBinary)
    #: next, current, previous
    state: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(default=now)
    retire_at: Mapped[dt.datetime | None]


class LtiHint(Base):
    """A message to a tool under way, of a launch or of a selection of content, prepared when it was initiated.

    It is bound to the browser's session and used once at the authorisation endpoint. The message may say who the
    person is: it rests here until housekeeping, every hour, deletes what has expired.
    """

    __tablename__ = "lti_hint"
    hint_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    #: All claims but those that the tool's own request gives and the moment: nonce, iat, exp.
    message: Mapped[dict[str, Any]]
    #: The origin whose page shows the launch in a frame, "" where it opens in a tab.
    framed_by: Mapped[str] = mapped_column(default="", server_default="")
    #: Of the session's token; in a frame, of the launch key that its page keeps.
    session_hash: Mapped[bytes] = mapped_column(LargeBinary)
    login_hint: Mapped[str]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
    used_at: Mapped[dt.datetime | None]


class ContentSelection(Base):
    """An admin chooses content in a tool (Deep Linking 2.0); ``data_hash`` is of the ``data`` that the tool echoes."""

    __tablename__ = "content_selection"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    deployment_id: Mapped[str]
    session_hash: Mapped[bytes] = mapped_column(LargeBinary)
    data_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    #: May the tool answer with more than one item?
    multiple: Mapped[bool] = mapped_column(default=True)
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
    #: When the tool answered; an answer counts once.
    answered_at: Mapped[dt.datetime | None]
    #: What was chosen, until the admin has added it to the catalogue.
    chosen: Mapped[list[Any] | None]
    #: What the tool says about it: "message" and "problem".
    said: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ContextMember(Base):
    """A person whom a tool knows in a context, by the name that it knows them by: whoever was launched there."""

    __tablename__ = "context_member"
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True)
    context: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)


class RegistrationTicket(Base):
    """Lets one dynamic registration happen: of a tool here ("tool"), or of the bridge at an LMS ("platform")."""

    __tablename__ = "registration_ticket"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    role: Mapped[str]
    #: What the connection will be called.
    name: Mapped[str]
    #: Where the admin said that the peer is.
    host: Mapped[str] = mapped_column(default="")
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
    used_at: Mapped[dt.datetime | None]
    connection_id: Mapped[int | None] = mapped_column(ForeignKey("connection.id", ondelete="SET NULL"))


class LmsLogin(Base):
    """A launch of the bridge by an LMS under way: its state, taken out by the launch that comes back with it."""

    __tablename__ = "lms_login"
    state_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    nonce: Mapped[str]
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    target_link_uri: Mapped[str]
    #: The frame of the LMS that keeps a secret for us, and that secret's hash: the proof of a browser without cookies.
    storage_target: Mapped[str] = mapped_column(default="", server_default="")
    proof_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: The parameters that it began with, to begin anew in a window of its own.
    hints: Mapped[dict[str, Any]] = mapped_column(default=dict)
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class LmsPlacing(Base):
    """An LMS's author chooses what of the catalogue to place in a course; ``settings`` are the LMS's, verified."""

    __tablename__ = "lms_placing"
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    deployment_id: Mapped[str]
    session_hash: Mapped[bytes] = mapped_column(LargeBinary)
    context_title: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class LmsDeployment(Base):
    """A deployment that an LMS launched from and no admin has approved yet."""

    __tablename__ = "lms_deployment"
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True)
    deployment_id: Mapped[str] = mapped_column(primary_key=True)
    first_seen: Mapped[dt.datetime] = mapped_column(default=now)
    last_seen: Mapped[dt.datetime] = mapped_column(default=now)
    launches: Mapped[int] = mapped_column(default=1)


class LmsLink(Base):
    """A place in an LMS's course from which the bridge is launched, and what it may do there.

    ``asset_id`` is what an author placed there; null where the link opens the person's own prompts.
    """

    __tablename__ = "lms_link"
    id: Mapped[int] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    deployment_id: Mapped[str]
    context_id: Mapped[str]
    context_title: Mapped[str] = mapped_column(default="")
    resource_link_id: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    asset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("asset.id"), index=True)
    #: The addresses of its services, "" where the LMS gave none.
    line_item: Mapped[str] = mapped_column(default="")
    line_items: Mapped[str] = mapped_column(default="")
    memberships: Mapped[str] = mapped_column(default="")
    scopes: Mapped[list[str]] = mapped_column(default=list)
    #: Why the LMS takes nothing there any more; cleared by the next launch.
    problem: Mapped[str | None]
    #: When its members are asked for next; null where there is nobody to ask.
    members_due_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    launched_at: Mapped[dt.datetime] = mapped_column(default=now)
    connection: Mapped[Connection] = relationship()
    asset: Mapped[Asset | None] = relationship()
    __table_args__ = (UniqueConstraint("connection_id", "deployment_id", "resource_link_id"),)


class LmsMember(Base):
    """Somebody in a context of an LMS, by launch or by its list of members; ``subject`` is the account's."""

    __tablename__ = "lms_member"
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"), primary_key=True)
    context_id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    roles: Mapped[list[str]] = mapped_column(default=list)
    #: False when the LMS's list says Inactive or Deleted, or names them no more.
    active: Mapped[bool] = mapped_column(default=True)
    seen_at: Mapped[dt.datetime] = mapped_column(default=now)


class LmsGrade(Queued, Base):
    """The newest outcome of a person for a link, on its way into the LMS's gradebook: one at a time for each."""

    __tablename__ = "lms_grade"
    link_id: Mapped[int] = mapped_column(ForeignKey("lms_link.id", ondelete="CASCADE"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    outcome_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("outcome.id"))
    #: waiting, recorded, failed
    state: Mapped[str] = mapped_column(default="waiting")
    receipt: Mapped[dict[str, Any] | None]
    link: Mapped[LmsLink] = relationship()
    outcome: Mapped[Outcome] = relationship()
    __table_args__ = (Index("ix_lms_grade_due_at", "due_at"),)


class UsedToken(Base):
    """A nonce or jti that must not come twice, until it could not be valid any more."""

    __tablename__ = "used_token"
    issuer: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class AccessToken(Base):
    """An LTI service token, bound to its tool and scopes; it survives a restart."""

    __tablename__ = "access_token"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    scopes: Mapped[list[str]]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class LineItem(Base):
    """An AGS line item: one per resource link that the bridge launches, more by the tool's own wish."""

    __tablename__ = "line_item"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connection.id", ondelete="CASCADE"))
    context: Mapped[str]
    resource_link_id: Mapped[str | None]
    asset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("asset.id"))
    label: Mapped[str]
    score_maximum: Mapped[float] = mapped_column(Float)
    resource_id: Mapped[str] = mapped_column(default="")
    tag: Mapped[str] = mapped_column(default="")
    __table_args__ = (Index("ix_line_item_place", "connection_id", "context", "resource_link_id"),)


class Score(Base):
    """The newest AGS score of a user on a line item, and the result that it makes."""

    __tablename__ = "score"
    line_item_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("line_item.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    timestamp: Mapped[dt.datetime]
    body: Mapped[dict[str, Any]]
    #: Scaled to the line item's maximum; null while nothing is fully graded.
    result: Mapped[float | None] = mapped_column(Float)


class Audit(Base):
    """Who changed what: configuration, credentials, people. Values of secrets are never in it."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(_BigId, primary_key=True, autoincrement=True)
    at: Mapped[dt.datetime] = mapped_column(default=now, index=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
