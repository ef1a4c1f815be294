"""Open a launch: from a link or the widget to the content, for the one person whom the prompt is for.

A ticket only names a prompt; it proves nothing about who holds it. Looking at one changes nothing, so that a link
preview can look as often as it likes.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import uuid

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge import support
from bridge.domain.assets import How, Opening
from bridge.flows import xapi_launch
from bridge.flows.decide_prompts import facts_of, person_facts
from bridge.flows.errors import NotFound, Refused
from bridge.flows.identity import token_hash
from bridge.flows.runtime import Runtime
from bridge.lti.platform import authorize
from bridge.store import now, occasion, tables
from bridge.xapi import ledger

_BEGIN = insert(tables.Launch.__table__)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, slots=True)
class Landing:
    """What a ticket leads to, as far as a stranger may see it."""

    prompt_id: uuid.UUID
    asset_title: str
    say: str
    asset_kind: str
    how: str
    duration_seconds: int | None
    person_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A step of a checklist."""

    id: str
    text: str
    done: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A launch that began: ``html`` and ``steps`` of inline help, or the ``url`` to open; LTI has its own way.

    The ``url`` of content that reports by itself holds the key to its session, and is for the person's browser only.
    """

    launch_id: uuid.UUID
    how: str
    title: str
    kind: str
    html: str = ""
    steps: tuple[Step, ...] = ()
    url: str = ""
    completed: bool = False
    #: Where the browser goes first, when an LTI launch was initiated with the opening.
    start: authorize.Initiation | None = None


def ticket_for(runtime: Runtime, prompt_id: uuid.UUID) -> str:
    """The ticket of a prompt: the same each time, 192 bits that only this installation can make.

    Who asks for it is the place where the prompt is shown, so one that is over begins anew, unless it was taken back.
    """
    ticket = base64.urlsafe_b64encode(runtime.vault.derive("ticket", prompt_id.bytes)[:24]).decode()
    with runtime.db.read() as session:
        row = session.get(tables.Ticket, token_hash(ticket))
    if row is None or (row.revoked_at is None and (row.expires_at <= now() or row.uses_left <= 0)):
        fresh = {
            "expires_at": now() + dt.timedelta(days=runtime.settings.ticket_days),
            "uses_left": runtime.settings.ticket_uses,
        }
        with runtime.db.write() as session:
            insert = (sqlite if runtime.db.is_sqlite else postgresql).insert(tables.Ticket)
            made = insert.values(token_hash=token_hash(ticket), prompt_id=prompt_id, **fresh)
            session.execute(made.on_conflict_do_update(index_elements=["token_hash"], set_=fresh))
    return ticket


def launch_url(runtime: Runtime, prompt_id: uuid.UUID) -> str:
    """The link that a channel shows."""
    return f"{runtime.settings.issuer}/go/{ticket_for(runtime, prompt_id)}"


def look(runtime: Runtime, ticket: str) -> Landing:
    """What a ticket leads to; changes nothing. Raises Refused with what to do next."""
    with runtime.db.read() as session:
        row = _ticket(session, ticket)
        prompt, asset = row.prompt, row.prompt.asset
        if asset is None or prompt.person_id is None:
            raise Refused("This link leads nowhere. Open the prompt again where you work.", code="ticket_unknown")
        return Landing(
            prompt_id=prompt.id,
            asset_title=asset.title,
            say=prompt.say,
            asset_kind=asset.kind,
            how=(asset.opening or {}).get("how", ""),
            duration_seconds=asset.duration_seconds,
            person_id=prompt.person_id,
        )


def _ticket(session: Session, ticket: str, *, lock: bool = False) -> tables.Ticket:
    row = session.get(tables.Ticket, token_hash(ticket), with_for_update=lock)
    again = "Open the prompt again in the system where you work, or ask your LMS admin."
    if row is None:
        raise Refused(f"This link is not known here; it may be cut off or mistyped. {again}", code="ticket_unknown")
    if row.revoked_at is not None:
        raise Refused(f"This link was taken back. {again}", code="ticket_revoked")
    if row.expires_at <= now():
        raise Refused(f"This link ended on {row.expires_at:%Y-%m-%d}. {again}", code="ticket_expired")
    if row.uses_left <= 0:
        raise Refused(f"This link was opened as often as it can be. {again}", code="ticket_used_up")
    return row


def revoke(runtime: Runtime, prompt_id: uuid.UUID, *, actor: str) -> int:
    """Take back the links of a prompt, audited; returns how many were open. Raises NotFound for an unknown prompt.

    Content that was opened by them may report no more.
    """
    with runtime.db.write() as session:
        if session.get(tables.Prompt, prompt_id) is None:
            raise NotFound(f"there is no prompt {prompt_id}")
        links = select(tables.Ticket).where(tables.Ticket.prompt_id == prompt_id, tables.Ticket.revoked_at.is_(None))
        taken = session.scalars(links.with_for_update()).all()
        for row in taken:
            row.revoked_at = now()
        xapi_launch.end(session, prompt_id)
        session.add(tables.Audit(actor=actor, action="prompt.revoke", subject=str(prompt_id)))
        return len(taken)


def open_ticket(
    runtime: Runtime, ticket: str, person_id: int, *, session_hash: bytes | None = None, framed_by: str = ""
) -> Opened:
    """Open what a ticket leads to, as a person who has proved who they are; uses the ticket once.

    For the browser of that session an LTI launch is initiated with it, or content gets its session at the LRS; raises
    LtiError where the tool can't be. ``framed_by`` is the origin whose page shows it in a frame, where a launch key
    takes the session's place.
    """
    with runtime.db.write() as session:
        row = _ticket(session, ticket, lock=True)
        db, prompt_id = session.connection(), row.prompt_id
        opened = _open(runtime, db, prompt_id, person_id, session_hash=session_hash, framed_by=framed_by)
        row.uses_left -= 1
    runtime.nudge("drain")
    return opened


def open_prompt(runtime: Runtime, prompt_id: uuid.UUID, person_id: int, *, session_hash: bytes | None = None) -> Opened:
    """Open a prompt from a place that has proved who the person is (the widget, the person's own page).

    For the browser of that session an LTI launch is initiated with it, or content gets its session at the LRS; raises
    LtiError where the tool can't be.
    """
    with runtime.db.transact() as db:
        opened = _open(runtime, db, prompt_id, person_id, session_hash=session_hash)
    runtime.nudge("drain")
    return opened


def go_on(runtime: Runtime, prompt_id: uuid.UUID, person_id: int) -> Opened:
    """Open a prompt like ``open_prompt``, or go on with the launch that began when it was opened before."""
    newest = (
        select(tables.Launch)
        .where(tables.Launch.prompt_id == prompt_id, tables.Launch.person_id == person_id)
        .order_by(tables.Launch.started_at.desc())
        .limit(1)
    )
    with runtime.db.write() as session:
        # Two browsers of one person may come at once: the second waits here for the first one's launch.
        prompt = session.get_one(tables.Prompt, prompt_id, with_for_update=True)
        launch = session.scalar(newest)
        if launch is not None and prompt.asset is not None and launch.how == (prompt.asset.opening or {}).get("how"):
            return _opened(launch)
        opened = _open(runtime, session.connection(), prompt_id, person_id)
    runtime.nudge("drain")
    return opened


def _open(
    runtime: Runtime,
    db: SqlConnection,
    prompt_id: uuid.UUID,
    person_id: int,
    *,
    session_hash: bytes | None = None,
    framed_by: str = "",
) -> Opened:
    prompt = occasion.of_prompt(db, prompt_id)
    if prompt is None:
        raise NotFound("there is no such prompt for you")
    launch = _launch(prompt, person_id)
    if How(launch.how).reports:
        return _open_content(runtime, db, launch, in_browser=session_hash is not None)
    _begin(runtime, db, launch)
    if launch.how != How.LTI:
        with Session(db) as session:
            return _opened(session.get_one(tables.Launch, launch.id))
    opened = Opened(launch.id, launch.how, launch.asset.title, launch.asset.kind)
    if session_hash is None:
        return opened
    start = authorize.begin(runtime, db, launch, session_hash, framed_by=framed_by)
    return dataclasses.replace(opened, start=start)


def _begin(runtime: Runtime, db: SqlConnection, launch: occasion.Launch) -> None:
    row = {"id": launch.id, "how": launch.how, "started_at": launch.started_at, "progress": []}
    ours = {"prompt_id": launch.prompt.id, "person_id": launch.person.id, "asset_id": launch.asset.id}
    db.execute(_BEGIN, {**row, **ours})
    if launch.how != How.CMI5:  # of which each session is launched, and says so itself
        ledger.report(runtime, db, launch, "launched", at=launch.started_at)


def _open_content(runtime: Runtime, db: SqlConnection, launch: occasion.Launch, *, in_browser: bool) -> Opened:
    """Open content that reports by itself, in the registration in which it was begun and not completed yet.

    So content finds its bookmarks again. Without a browser to open it in, it gets no session yet (``reopen``).
    """
    of = tables.Launch
    begun = db.scalar(
        select(of.id)
        .where(of.prompt_id == launch.prompt.id, of.person_id == launch.person.id, of.how == launch.how)
        .where(of.asset_id == launch.asset.id, of.completed_at.is_(None))
        .order_by(of.started_at.desc())
        .limit(1)
    )
    if begun is not None:
        launch = launch._replace(id=begun)
    else:
        _begin(runtime, db, launch)
    url = xapi_launch.begin(runtime, db, launch) if in_browser else ""
    return Opened(launch.id, launch.how, launch.asset.title, launch.asset.kind, url=url)


def _launch(prompt: occasion.Prompt, person_id: int) -> occasion.Launch:
    """A launch of the prompt that begins now, where it is the person's and can be opened."""
    asset, person = prompt.asset, prompt.person
    if asset is None or person is None or person.id != person_id:
        raise Refused(
            "This link was made for somebody else. Sign in as that person, or open your own prompt.", code="not_for_you"
        )
    return occasion.Launch(uuid.uuid4(), _way(asset), now(), prompt, person, asset)


def _way(asset: occasion.AnyAsset) -> str:
    """How an asset is opened now; raises Refused where it can't be any more."""
    if asset.retired_at is not None or asset.opening is None:
        raise Refused(
            f"'{asset.title}' was taken out of its catalogue. Ask your LMS admin what replaces it.",
            code="asset_retired",
        )
    return str(asset.opening["how"])


def launch_page(runtime: Runtime, launch_id: uuid.UUID, person_id: int) -> Opened:
    """The page of a launch that began earlier; raises NotFound when it is somebody else's."""
    with runtime.db.read() as session:
        return _opened(own_launch(session, launch_id, person_id))


def reopen(runtime: Runtime, launch_id: uuid.UUID, person_id: int) -> Opened:
    """The page of a launch like ``launch_page``, for the person's browser: content gets a session at the LRS."""
    opened = launch_page(runtime, launch_id, person_id)
    if not How(opened.how).reports:
        return opened
    with runtime.db.write() as session:
        launch = own_launch(session, launch_id, person_id, lock=True)
        if _way(launch.asset) != launch.how:
            raise Refused(
                f"'{opened.title}' is opened in another way now. Open its prompt again.", code="opened_otherwise"
            )
        url = xapi_launch.begin(runtime, session.connection(), launch)
    runtime.nudge("drain")
    return dataclasses.replace(opened, url=url)


def own_launch(session: Session, launch_id: uuid.UUID, person_id: int, *, lock: bool = False) -> tables.Launch:
    """A launch of this person; raises NotFound."""
    launch = session.get(tables.Launch, launch_id, with_for_update=lock)
    if launch is None or launch.person_id != person_id:
        raise NotFound("there is no such launch for you")
    return launch


def _opened(launch: tables.Launch) -> Opened:
    asset = launch.asset
    opening = Opening.from_json(asset.opening or {"how": launch.how})
    opened = Opened(launch.id, launch.how, asset.title, asset.kind, completed=launch.completed_at is not None)
    if opening.how is How.LINK:
        return dataclasses.replace(opened, url=opening.url)
    if opening.how is How.LTI or opening.how.reports:
        return opened
    filled = help_of(launch)
    steps = tuple(Step(step.id, step.text, step.id in launch.progress) for step in filled.steps)
    return dataclasses.replace(opened, html=support.render(filled, ticked=launch.progress), steps=steps)


def help_of(launch: tables.Launch) -> support.Filled:
    """The inline help of a launch, filled with the facts of its event; raises Refused where it can't be shown now."""
    text = Opening.from_json(launch.asset.opening or {"how": launch.how}).text
    try:
        return support.fill(support.parse(text, name=launch.asset.external_id), _facts(launch))
    except support.SupportError as error:
        raise Refused(
            f"'{launch.asset.title}' can't be shown at the moment ({error}). Tell your LMS admin.",
            code="asset_unreadable",
        ) from None


def _facts(launch: tables.Launch) -> dict[str, object]:
    prompt = {"id": str(launch.prompt_id), "say": launch.prompt.say}
    return {"event": facts_of(launch.prompt.event), "person": person_facts(launch.person), "prompt": prompt}
