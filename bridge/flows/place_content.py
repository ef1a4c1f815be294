"""Place content: an LMS's author chooses what of the catalogue stands in a course.

The LMS's verified request waits under a code, for the session that its launch has opened, until it is answered once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bridge.domain.assets import How
from bridge.domain.rules import Offer
from bridge.flows import catalogue
from bridge.flows.errors import Invalid, Refused
from bridge.flows.identity import token_hash
from bridge.flows.runtime import Runtime
from bridge.lti import vocabulary
from bridge.lti.tool import deep_linking, platforms
from bridge.lti.tool.deep_linking import Placed, Wanted
from bridge.lti.tool.launches import Launched
from bridge.lti.tool.platforms import Platform
from bridge.store import now, tables

#: How long an author may choose.
LIFE = dt.timedelta(hours=1)
#: How many assets a search shows, and how many can be placed at once.
MOST = 50
_MEMBERSHIP = vocabulary.ROLE + "membership#"
_AUTHORS = frozenset(
    {
        vocabulary.ADMINISTRATOR,
        f"{vocabulary.ROLE}system/person#Administrator",
        f"{_MEMBERSHIP}Administrator",
        f"{_MEMBERSHIP}ContentDeveloper",
        vocabulary.INSTRUCTOR,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An asset that can be placed."""

    id: uuid.UUID
    title: str
    summary: str
    kind: str
    connection: str
    duration_seconds: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Shelf:
    """What an author sees: the assets that they ticked, and those that match their search beside them."""

    platform: str
    course: str
    multiple: bool
    ticked: tuple[Candidate, ...]
    found: tuple[Candidate, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the browser posts to the LMS, and where."""

    url: str
    jwt: str = dataclasses.field(repr=False)
    count: int


def begin(runtime: Runtime, launched: Launched, session_token: str) -> str:
    """Keep a verified deep linking request; returns the path where its author chooses. Raises Refused and LtiError."""
    if not launched.roles & _AUTHORS:
        raise Refused(
            "Only those who teach or run this course place content in it. Ask your LMS admin for such a role there.",
            code="authors_only",
        )
    settings = launched.claims[vocabulary.DEEP_LINKING_SETTINGS]
    wanted = Wanted.of(launched.platform, settings)
    code = secrets.token_urlsafe(24)
    row = tables.LmsPlacing(
        code_hash=token_hash(code),
        connection_id=launched.platform.connection_id,
        deployment_id=launched.deployment_id,
        session_hash=token_hash(session_token),
        context_title=launched.context_title[:200].replace("\x00", ""),
        settings=dataclasses.asdict(wanted),
        expires_at=now() + LIFE,
    )
    with runtime.db.write() as session:
        session.add(row)
    return f"/lti/tool/deeplink/{code}"


def look(
    runtime: Runtime, code: str, session_token: str, *, search: str = "", ticked: Collection[uuid.UUID] = ()
) -> Shelf:
    """What can be placed: the best matches of a search, without those that are ticked. Raises Refused."""
    with runtime.db.read() as session:
        row, platform = _find(session, code, session_token)
        kept = _assets(session, ticked)
        found = [asset for asset in catalogue.search(session, Offer(search=search), limit=MOST) if asset not in kept]
        return Shelf(
            platform=platform.name,
            course=row.context_title,
            multiple=row.settings["multiple"],
            ticked=tuple(map(_candidate, kept)),
            found=tuple(map(_candidate, found)),
        )


def place(runtime: Runtime, code: str, session_token: str, chosen: Collection[uuid.UUID]) -> Answer:
    """Answer the LMS, once, with these assets; with none where the author wants none. Raises Refused and Invalid."""
    with runtime.db.write() as session:
        row, platform = _find(session, code, session_token)
        wanted, assets = Wanted(**row.settings), _assets(session, chosen)
        if len(assets) != len(set(chosen)):
            raise Invalid("asset", "one of them is not in the catalogue any more; choose again")
        if len(assets) > (MOST if wanted.multiple else 1):
            raise Invalid("asset", f"your LMS takes {MOST if wanted.multiple else 'one'} at a time")
        open_one = delete(tables.LmsPlacing).where(tables.LmsPlacing.code_hash == row.code_hash)
        if session.execute(open_one.returning(tables.LmsPlacing.code_hash)).first() is None:
            raise _over()
        placed = [_placed(asset) for asset in assets]
    jwt = deep_linking.response(runtime, platform, row.deployment_id, wanted, placed)
    return Answer(wanted.return_url, jwt, len(placed))


def _find(session: Session, code: str, session_token: str) -> tuple[tables.LmsPlacing, Platform]:
    row = session.get(tables.LmsPlacing, token_hash(code))
    if row is None or row.expires_at <= now() or row.session_hash != token_hash(session_token):
        raise _over()
    platform = platforms.by_connection(session, row.connection_id)
    if platform is None:
        raise Refused("This LMS was switched off here. Ask your LMS admin.", code="platform_off")
    return row, platform


def _assets(session: Session, ids: Collection[uuid.UUID]) -> Sequence[tables.Asset]:
    """Those of them that can be opened, by title."""
    usable = tables.Asset.retired_at.is_(None) & tables.Asset.opening.is_not(None)
    query = select(tables.Asset).where(tables.Asset.id.in_(ids), usable).order_by(tables.Asset.title, tables.Asset.id)
    return session.scalars(query).all()


def _candidate(asset: tables.Asset) -> Candidate:
    return Candidate(asset.id, asset.title, asset.summary, asset.kind, asset.connection.name, asset.duration_seconds)


def _placed(asset: tables.Asset) -> Placed:
    """A link says nothing of what came of it; everything else can be completed."""
    graded = (asset.opening or {}).get("how") != How.LINK
    return Placed(f"{asset.connection.name}/{asset.external_id}", asset.title.strip(), asset.summary.strip(), graded)


def _over() -> Refused:
    return Refused(
        "This choice was made before, or too late. Go back to your LMS and choose content from there again.",
        code="placing_over",
    )
