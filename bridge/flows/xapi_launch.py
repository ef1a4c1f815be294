"""Launch content that reports by itself: it is told where the LRS is, who it speaks for, and how it may come in.

Plain xAPI launches hand that over in the address (https://github.com/RusticiSoftware/launch/blob/master/lms_lrs.md);
cmi5 content fetches its token from an address that works once (cmi5 section 8). Either way it is the token of this one
launch, good for nothing else.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import secrets
import uuid
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from bridge.domain import ids
from bridge.domain.assets import How, Opening
from bridge.flows.callers import launch_key, require_alive
from bridge.flows.errors import FlowError, NotFound
from bridge.flows.identity import token_hash
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.occasion import AnyLaunch
from bridge.xapi import cmi5, ledger, statements
from bridge.xapi.enrich import put_in


class Fetched(FlowError):
    """The token was fetched already."""

    code = "already_fetched"


def begin(runtime: Runtime, db: SqlConnection, launch: AnyLaunch) -> str:
    """Let what a launch opens speak at the LRS; returns the address to open, which holds the key to that.

    One that began before goes on: what it got then is good no more. Its session ends ``session_hours`` after this.
    """
    opening, issuer = Opening.from_json(launch.asset.opening or {"how": launch.how}), runtime.settings.issuer
    actor, activity = statements.actor(launch.person, issuer), statements.activity_id(launch.asset, issuer)
    session_id, secret = uuid.uuid4(), secrets.token_urlsafe(32)
    is_cmi5 = opening.how is How.CMI5
    kept = {
        "id": session_id,
        "secret_hash": None if is_cmi5 else token_hash(secret),
        "fetch_hash": token_hash(secret) if is_cmi5 else None,
        "actor": ledger.identifier(actor),
        "activity": activity,
        "expires_at": now() + dt.timedelta(hours=runtime.settings.session_hours),
        "ended_at": None,
    }
    began_before = db.scalar(select(tables.ContentSession.id).where(tables.ContentSession.launch_id == launch.id))
    _put(db, tables.ContentSession, {"launch_id": launch.id}, kept)
    said = {"endpoint": f"{issuer}/xapi/", "actor": json.dumps(actor), "registration": str(launch.id)}
    if not is_cmi5:
        return _with_query(opening.url, {**said, "auth": f"Basic {_token(launch.id, secret)}", "activity_id": activity})
    session = cmi5.Session(session_id, opening)
    _keep_launch_data(runtime, db, launch, session, kept)
    _report_launched(runtime, db, launch, session, again=began_before is not None)
    return _with_query(opening.url, {**said, "fetch": f"{issuer}/content/fetch/{secret}", "activityId": activity})


def _put(db: SqlConnection, table: type[Any], key: dict[str, Any], values: dict[str, Any]) -> None:
    """Insert a row, or replace the one with that key."""
    insert = (sqlite if db.dialect.name == "sqlite" else postgresql).insert(table)
    made = insert.values(**key, **values)
    db.execute(made.on_conflict_do_update(index_elements=list(key), set_=values))


def _token(launch_id: uuid.UUID, secret: str) -> str:
    """What stands after "Basic" in the content's Authorization header, as cmi5 wants it too (section 8.2.3)."""
    return base64.b64encode(f"{launch_key(launch_id)}:{secret}".encode()).decode()


def _with_query(url: str, parameters: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters, quote_via=quote))))
    return parts._replace(query=query).geturl()


def _keep_launch_data(
    runtime: Runtime, db: SqlConnection, launch: AnyLaunch, session: cmi5.Session, kept: dict[str, Any]
) -> None:
    content = orjson.dumps(session.launch_data(f"{runtime.settings.issuer}/launches/{launch.id}"))
    place = {
        "kind": "state",
        "activity": ledger.key(kept["activity"]),
        "agent": ledger.key(kept["actor"]),
        "registration": str(launch.id),
        "key": cmi5.LAUNCH_DATA,
    }
    etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    values = {"content": content, "content_type": "application/json", "etag": etag, "updated_at": now()}
    _put(db, tables.Document, place, {"document_id": cmi5.LAUNCH_DATA, **values})


def _report_launched(
    runtime: Runtime, db: SqlConnection, launch: AnyLaunch, session: cmi5.Session, *, again: bool
) -> None:
    """State that this session was launched: in cmi5 each one is, the first as that of any launch."""
    issuer = runtime.settings.issuer
    statement = statements.for_launch(launch, "launched", at=now(), issuer=issuer, vault=runtime.vault)
    statement["id"] = str(ids.statement_id(launch.id, "launched", str(session.id) if again else ""))
    with Session(db) as write:
        ledger.add(write, put_in(orjson.dumps(statement), session.launched()), issuer=issuer, launch_id=launch.id)


def fetch(runtime: Runtime, token: str) -> str:
    """The authorization token of a cmi5 session, once (cmi5 section 8.2).

    Raises Fetched the second time, NotFound where no session began with this address, Refused where it is over.
    """
    secret, row = secrets.token_urlsafe(32), tables.ContentSession
    with runtime.db.write() as session:
        found = session.scalar(select(row).where(row.fetch_hash == token_hash(token)).with_for_update())
        if found is None:
            raise NotFound("this is the fetch URL of no launch here; open the content again from its prompt")
        require_alive(found)
        if found.secret_hash is not None:
            raise Fetched("the token was fetched already; open the content again from its prompt to get another one")
        found.secret_hash = token_hash(secret)
    return _token(found.launch_id, secret)


def end(session: Session, prompt_id: uuid.UUID) -> None:
    """End what was launched from a prompt: its tokens are good for nothing from now on."""
    row = tables.ContentSession
    launches = select(tables.Launch.id).where(tables.Launch.prompt_id == prompt_id)
    alive = row.launch_id.in_(launches), row.ended_at.is_(None)
    session.execute(update(row).where(*alive).values(ended_at=now()).execution_options(synchronize_session=False))
