"""Choose content: what an admin picks in a tool becomes resources of its connection, and assets of the catalogue."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import delete
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import ConnectorError
from bridge.domain.assets import AssetKind
from bridge.flows import operate, sync_catalogue
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.identity import SignedIn, find_connection, token_hash
from bridge.flows.runtime import Runtime
from bridge.lti.platform import deep_linking
from bridge.lti.platform.authorize import Initiation
from bridge.store import now, tables


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A chosen item; ``replaces`` is the title of the resource that it updates, "" for a new one."""

    title: str
    summary: str
    url: str
    custom: Mapping[str, str]
    plain_link: bool
    graded: str
    kind: str
    replaces: str


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What a tool answered, before it is added: ``message`` and ``problem`` are its own words."""

    connection: str
    items: tuple[Item, ...]
    message: str
    problem: str


def begin(runtime: Runtime, name: str, person: SignedIn, session_token: str, *, multiple: bool) -> Initiation:
    """Begin to choose in a tool, in the browser with that session. Raises NotFound and LtiError."""
    with runtime.db.write() as session:
        connection = find_connection(session, name)
        who = session.get_one(tables.Person, person.person_id)
        return deep_linking.begin(runtime, session, connection.id, who, token_hash(session_token), multiple=multiple)


def receive(runtime: Runtime, token: str, session_token: str) -> uuid.UUID:
    """Take the tool's answer, once; returns the selection to look at. Raises LtiError."""
    return deep_linking.receive(runtime, token, token_hash(session_token))


def look(runtime: Runtime, selection_id: uuid.UUID, session_token: str) -> Choice:
    """What was chosen and waits to be added. Raises NotFound where it is over, or was begun in another sign-in."""
    with runtime.db.read() as session:
        row = session.get(tables.ContentSelection, selection_id)
        if (
            row is None
            or row.chosen is None
            or row.expires_at <= now()
            or row.session_hash != token_hash(session_token)
        ):
            raise _over()
        connection = session.get_one(tables.Connection, row.connection_id)
        resources = connection.config.get("resources", ())
        items = tuple(_item(chosen, _found(connection, resources, chosen) or {}) for chosen in row.chosen)
    return Choice(connection.name, items, row.said.get("message", ""), row.said.get("problem", ""))


def add(runtime: Runtime, selection_id: uuid.UUID, session_token: str, kinds: Sequence[str], *, actor: str) -> str:
    """Add what was chosen to the tool's resources, one kind for each, and walk its catalogue; returns its name.

    What leads to the same place as a resource that is there updates it. Raises NotFound and Invalid.
    """
    with runtime.db.write() as session:
        connection, chosen = _take(session, selection_id, session_token)
        if len(kinds) != len(chosen) or not set(kinds) <= set(AssetKind):
            raise Invalid("kind", "choose one kind for each item; load the page again")
        _merge(connection, [item | {"kind": kind} for item, kind in zip(chosen, kinds, strict=True)])
        detail = {"resources": [item["title"] for item in chosen]}
        session.add(tables.Audit(actor=actor, action="content.add", subject=connection.name, detail=detail))
    _walk(runtime, connection.name, actor)
    return connection.name


def discard(runtime: Runtime, selection_id: uuid.UUID, session_token: str) -> str:
    """Forget what was chosen; returns the name of the tool's connection. Raises NotFound."""
    with runtime.db.write() as session:
        connection, _ = _take(session, selection_id, session_token)
        return connection.name


def _take(session: Session, selection_id: uuid.UUID, session_token: str) -> tuple[tables.Connection, list[Any]]:
    """Take the answer out, so that one of two clicks adds it; the tool's connection is locked meanwhile."""
    table = tables.ContentSelection
    taken = session.execute(
        delete(table)
        .where(
            table.id == selection_id,
            table.session_hash == token_hash(session_token),
            table.chosen.is_not(None),
            table.expires_at > now(),
        )
        .returning(table.connection_id, table.chosen)
    ).first()
    if taken is None:
        raise _over()
    return session.get_one(tables.Connection, taken.connection_id, with_for_update=True), taken.chosen


def _merge(connection: tables.Connection, chosen: Sequence[Mapping[str, Any]]) -> None:
    resources = [dict(resource) for resource in connection.config.get("resources", ())]
    for item in chosen:
        before = _found(connection, resources, item)
        if before is None:
            before = {"id": _id(connection, item)}
            resources.append(before)
        for told in ("summary", "line_item"):
            before.pop(told, None)
        before.update(item)
    config = {**connection.config, "resources": resources}
    registry.find(connection.connector).config_class.model_validate(config)
    connection.config = config


def _found(
    connection: tables.Connection, resources: Sequence[dict[str, Any]], item: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The resource that leads to the same place as a chosen item."""
    place = _place(connection, item)
    return next((resource for resource in resources if _place(connection, resource) == place), None)


def _place(connection: tables.Connection, resource: Mapping[str, Any]) -> bytes:
    url = resource.get("url") or connection.config["target_link_uri"]
    place = [url, resource.get("custom", {}), resource.get("plain_link", False)]
    return orjson.dumps(place, option=orjson.OPT_SORT_KEYS)


def _id(connection: tables.Connection, item: Mapping[str, Any]) -> str:
    """A readable id that no other place in the tool has."""
    plain = unicodedata.normalize("NFKD", item["title"]).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:40].strip("-") or "item"
    return f"{slug}-{hashlib.sha256(_place(connection, item)).hexdigest()[:8]}"


def _item(chosen: Mapping[str, Any], before: Mapping[str, Any]) -> Item:
    line_item = chosen.get("line_item")
    return Item(
        title=chosen["title"],
        summary=chosen.get("summary", ""),
        url=chosen.get("url", ""),
        custom=chosen.get("custom", {}),
        plain_link=chosen.get("plain_link", False),
        graded=f"{line_item['label']}, {line_item['score_maximum']:g} points" if line_item else "",
        kind=before.get("kind") or (AssetKind.LINK if chosen.get("plain_link") else AssetKind.MODULE),
        replaces=before.get("title", ""),
    )


def _walk(runtime: Runtime, name: str, actor: str) -> None:
    """At once: it asks nobody outside. Where another process walks at this moment, the next walk shows it."""
    try:
        sync_catalogue.sync(runtime, name, full=True)
    except (ConnectorError, Refused):
        operate.ask_for_sync(runtime, name, actor=actor)


def _over() -> NotFound:
    return NotFound("This choice is over: it was added, discarded or forgotten. Choose again on the tool's page.")
