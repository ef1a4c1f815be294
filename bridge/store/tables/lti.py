"""LTI in both roles: keys, messages under way, registrations, the services' rows."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bridge.store.tables.base import Base, Queued
from bridge.store.tables.loop import Asset, Connection, Outcome
from bridge.store.types import now


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
