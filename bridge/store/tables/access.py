"""Who may come in: sign-ins, programs' credentials, and what counts once."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column, relationship

from bridge.store.tables.base import Base
from bridge.store.tables.loop import Person
from bridge.store.types import now


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


class UsedToken(Base):
    """A nonce or jti that must not come twice, until it could not be valid any more."""

    __tablename__ = "used_token"
    issuer: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class ContentSession(Base):
    """What launched content may do at the LRS: speak for one actor, about one activity, in one registration.

    Content of plain xAPI launches holds the secret from the start; cmi5 content fetches it, once.
    """

    __tablename__ = "content_session"
    #: Of the launch, which is the registration too.
    launch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("launch.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(unique=True)
    secret_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    fetch_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    #: Canonical form of the actor's identifier, and the IRI of the activity, as they were handed to the content.
    actor: Mapped[str]
    activity: Mapped[str]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)
    ended_at: Mapped[dt.datetime | None]
