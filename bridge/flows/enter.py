"""Enter by an LMS: who was launched, what they may do here, and where they go on.

A launch of content that an author placed in a course makes the same chain as one that a rule offers: an event of the
LMS ("lms.content.opened"), a prompt, a launch. There is one event for each person at each link, so that whoever opens
the link again goes on where they were. The prompt stands under a built-in rule, which decides nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bridge.connect import ConfigError
from bridge.domain import ids
from bridge.domain.prompts import Reason
from bridge.domain.rules import Offer
from bridge.flows import catalogue, identity, lms_people, open_launch, place_content, push_grades
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.lti import vocabulary
from bridge.lti.tool.launches import Launched
from bridge.store import now, tables
from bridge.store.insert import insert_into, insert_once

OPENED = "lms.content.opened"
RULE = "opened-in-lms"
#: How long the way on from a launch can be taken.
PASS_LIFE = dt.timedelta(minutes=10)
_ADMINISTRATORS = {f"{vocabulary.ROLE}{of}/person#Administrator" for of in ("institution", "system")}
_CONSOLE = {
    "nobody": frozenset[str](),
    "administrators": frozenset(_ADMINISTRATORS),
    "instructors": frozenset(_ADMINISTRATORS | {vocabulary.INSTRUCTOR}),
}
_ORIGIN = re.compile(r"(https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?)(?:[/?#].*)?", re.DOTALL)
_LONGEST = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Entered:
    """A person who came by an LMS: the token of their new session, and the pass that leads on with it."""

    token: str = dataclasses.field(repr=False)
    onward: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Pass:
    """The way on from a launch, for the session that the launch has opened."""

    token: str = dataclasses.field(repr=False)
    path: str
    id: str
    expires_at: dt.datetime
    visitor: identity.SignedIn


def enter(runtime: Runtime, launched: Launched) -> Entered:
    """Let a verified launch in: the person, their place in the LMS, a session of its own. Raises Refused."""
    with runtime.db.write() as session:
        asset = _asset(session, launched)
        person = lms_people.account_owner(session, launched.platform, launched.subject, **_told(launched))
        _keep_member(session, launched)
        if launched.message_type == vocabulary.RESOURCE_LINK_REQUEST:
            _keep_link(session, launched, asset)
        prompt_id = _prompt(session, launched, person, asset) if asset is not None else None
    role = "admin" if launched.roles & _CONSOLE[launched.platform.console_for] else ""
    token, visitor = identity.open_session(runtime, person.id, via="lti", role=role, framed_by=_framers(launched))
    if launched.message_type == vocabulary.DEEP_LINKING_REQUEST:
        path = place_content.begin(runtime, launched, token)
    elif prompt_id is not None:
        path = _opened(runtime, prompt_id, person.id)
    else:
        path = "/console/" if visitor.role == "admin" else "/"
    return Entered(token, _pass(runtime, token, path))


def _told(launched: Launched) -> dict[str, str]:
    """What the LMS says of the person, for those who are new here."""
    claims = launched.claims
    told = {name: _text(claims.get(name)) for name in ("name", "given_name", "family_name", "email")}
    return told | {"sourcedid": _text(launched.claim("lis").get("person_sourcedid"))}


def _text(value: Any) -> str:
    """A text that is only shown: cut, and without what a database does not take."""
    return value.replace("\x00", "").strip()[:_LONGEST] if isinstance(value, str) else ""


def _asset(session: Session, launched: Launched) -> tables.Asset | None:
    """What an author placed there, None where the link leads to the person's own prompts."""
    name = launched.custom.get("asset", "")
    if not name or launched.message_type != vocabulary.RESOURCE_LINK_REQUEST:
        return None
    asset = catalogue.choose(session, Offer(asset=name)) if "\x00" not in name else None
    if asset is None or asset.retired_at is not None or asset.opening is None:
        raise Refused(
            "What this place in your course leads to is not in the catalogue any more. Tell whoever runs the course:"
            " they can place something else there.",
            code="asset_gone",
        )
    return asset


def _keep_member(session: Session, launched: Launched) -> None:
    now_there = {"roles": sorted(launched.roles), "active": True, "seen_at": now()}
    key = {
        "connection_id": launched.platform.connection_id,
        "context_id": launched.context_id,
        "subject": launched.subject,
    }
    row = insert_into(session, tables.LmsMember).values(**key, **now_there)
    session.execute(row.on_conflict_do_update(index_elements=list(key), set_=now_there))


def _keep_link(session: Session, launched: Launched, asset: tables.Asset | None) -> None:
    """The place and its services, as this launch tells them; what was wrong there is tried again."""
    table = tables.LmsLink
    grades, members = _object(launched, vocabulary.AGS_ENDPOINT), _object(launched, vocabulary.NRPS_SERVICE)
    memberships, scopes = _address(members.get("context_memberships_url")), grades.get("scope")
    told = {
        "context_id": launched.context_id,
        "context_title": _text(launched.context_title),
        "title": _text(launched.text("resource_link", "title")),
        "asset_id": asset.id if asset is not None else None,
        "line_item": _address(grades.get("lineitem")),
        "line_items": _address(grades.get("lineitems")),
        "memberships": memberships,
        "scopes": [s for s in scopes if s in vocabulary.AGS_SCOPES] if isinstance(scopes, list) else [],
        "problem": None,
        "launched_at": now(),
    }
    key = {
        "connection_id": launched.platform.connection_id,
        "deployment_id": launched.deployment_id,
        "resource_link_id": launched.resource_link_id,
    }
    for flagged in session.scalars(select(table.id).filter_by(**key).where(table.problem.is_not(None))).all():
        push_grades.again(session, flagged)
    row = insert_into(session, table).values(**key, **told, members_due_at=now() if memberships else None)
    due = func.coalesce(table.members_due_at, now()) if memberships else None
    session.execute(row.on_conflict_do_update(index_elements=list(key), set_={**told, "members_due_at": due}))


def _object(launched: Launched, claim: str) -> Mapping[str, Any]:
    value = launched.claims.get(claim)
    return value if isinstance(value, dict) else {}


def _address(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 2_048 and _origin(value) and value.isprintable() else ""


def _origin(url: str) -> str:
    """The origin of a web address, "" where it is none: nothing else gets into a page's policy."""
    found = _ORIGIN.fullmatch(url.lower())
    return found[1] if found else ""


def _framers(launched: Launched) -> list[str]:
    """The pages of the LMS that may show ours in a frame."""
    platform = launched.platform
    urls = (platform.issuer, platform.auth_login_url, launched.text("launch_presentation", "return_url"))
    return sorted({found for url in urls if (found := _origin(url))})


def _prompt(session: Session, launched: Launched, person: tables.Person, asset: tables.Asset) -> uuid.UUID:
    """The prompt of this person at this link, made at the first launch."""
    event_id = _event(session, launched, asset)
    prompt_id = ids.prompt_id(event_id, RULE, str(person.id))
    insert_once(
        session,
        tables.Prompt,
        id=prompt_id,
        event_id=event_id,
        rule_id=_rule(session),
        rule_version=1,
        person_id=person.id,
        asset_id=asset.id,
        offered=True,
        reason=Reason.OPENED_IN_LMS,
        subject=f"link,{launched.resource_link_id}",
    )
    return prompt_id


def _event(session: Session, launched: Launched, asset: tables.Asset) -> uuid.UUID:
    """The event that somebody opened a link, decided already: one for each person, link and asset."""
    place = [launched.deployment_id, launched.resource_link_id, launched.subject, str(asset.id)]
    external_id = "opened:" + hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]
    event_id = ids.event_id(launched.platform.name, external_id)
    insert_once(
        session,
        tables.Event,
        id=event_id,
        connection_id=launched.platform.connection_id,
        external_id=external_id,
        type=OPENED,
        source=launched.platform.issuer,
        subject=f"link,{launched.resource_link_id}",
        time=now(),
        data={
            "context": {"id": launched.context_id, "title": _text(launched.context_title)},
            "title": _text(launched.text("resource_link", "title")),
        },
        people={},
        decided_at=now(),
        due_at=None,
    )
    return event_id


def _rule(session: Session) -> int:
    """The built-in rule: removed from the beginning, so that it decides nothing and is in no export."""
    found = select(tables.Rule.id).where(tables.Rule.name == RULE)
    rule_id = session.scalar(found)
    if rule_id is None:
        definition = {"name": RULE, "on": OPENED, "offer": {}, "say": "", "enabled": False}
        insert_once(
            session, tables.Rule, name=RULE, event_type=OPENED, definition=definition, enabled=False, removed_at=now()
        )
        rule_id = session.scalars(found).one()
    return rule_id


def _opened(runtime: Runtime, prompt_id: uuid.UUID, person_id: int) -> str:
    opened = open_launch.go_on(runtime, prompt_id, person_id)
    return f"/launches/{opened.launch_id}" + ("" if opened.how == "inline" else "/open")


def _pass(runtime: Runtime, token: str, path: str) -> str:
    """A pass, sealed: it leads on with its session once, also in a window of its own."""
    until = int((now() + PASS_LIFE).timestamp())
    return runtime.vault.seal(json.dumps([token, path, secrets.token_urlsafe(16), until])).partition(":")[2]


def read_pass(runtime: Runtime, code: str) -> Pass:
    """What a pass leads to; changes nothing. Raises Refused when it is none, or too old."""
    try:
        token, path, identifier, until = json.loads(runtime.vault.open(f"encrypted:{code}"))
    except (ConfigError, ValueError):
        raise _over() from None
    visitor, expires_at = identity.session(runtime, token), dt.datetime.fromtimestamp(until, dt.UTC)
    if visitor is None or expires_at <= now():
        raise _over()
    return Pass(token, path, identifier, expires_at, visitor)


def use(runtime: Runtime, onward: Pass) -> bool:
    """Take a pass; False when somebody has."""
    with runtime.db.write() as session:
        return insert_once(session, tables.UsedToken, issuer="lms-pass", token=onward.id, expires_at=onward.expires_at)


def use_elsewhere(runtime: Runtime, code: str) -> Pass:
    """Take a pass in a window that has no session yet; raises Refused when it is used or too old."""
    onward = read_pass(runtime, code)
    if not use(runtime, onward):
        raise _over()
    return onward


def _over() -> Refused:
    return Refused(
        "This step was taken before, or too late. Go back to your LMS and open it from there again.", code="pass_over"
    )
