"""Events in: verified, parsed, de-duplicated, stored; deciding comes later, in a worker."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from bridge.connect import BusinessEvent, InboundRequest, Reply, Trigger
from bridge.domain import ids
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_into

#: An event may say of itself what one page holds: longer texts are not a name or an id any more.
_LONGEST = {"id": 255, "type": 255, "source": 1024, "subject": 1024}


@dataclasses.dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is stored; ``duplicate`` when it was stored before, by an earlier arrival."""

    id: uuid.UUID
    duplicate: bool


def accept_hook(runtime: Runtime, connection_name: str, request: InboundRequest) -> list[Accepted] | Reply:
    """Take a webhook request. Raises NotFound, SignatureInvalid, UnexpectedPayload, Invalid: nothing is stored."""
    with runtime.db.read() as session:
        connection = find_connection(session, connection_name)
    connector = runtime.connector(connection)
    if not isinstance(connector, Trigger):
        raise NotFound(f"the connection '{connection_name}' ({connection.connector}) takes no webhooks")
    if not connection.enabled:
        raise Refused(f"the connection '{connection_name}' is switched off", code="connection_disabled")
    reply = connector.handshake(request)
    if reply is not None:
        return reply
    connector.verify(request)
    return accept(runtime, connection_name, connector.parse(request))


def accept(runtime: Runtime, connection_name: str, events: Sequence[BusinessEvent]) -> list[Accepted]:
    """Store events of a connection, all or none; the second arrival of an id changes nothing."""
    for number, event in enumerate(events):
        _check(event, f"[{number}]." if len(events) > 1 else "")
    with runtime.db.write() as session:
        connection = find_connection(session, connection_name)
        if not connection.enabled:
            raise Refused(f"the connection '{connection_name}' is switched off", code="connection_disabled")
        accepted = store(session, connection, events)
    if any(not item.duplicate for item in accepted):
        runtime.nudge("decide")
    return accepted


def _check(event: BusinessEvent, where: str) -> None:
    for field in ("id", "type", "source"):
        if not getattr(event, field):
            raise Invalid(where + field, "is missing or empty")
    for field, limit in _LONGEST.items():
        if len(getattr(event, field)) > limit:
            raise Invalid(where + field, f"is longer than {limit} characters")


def store(session: Session, connection: tables.Connection, events: Sequence[BusinessEvent]) -> list[Accepted]:
    """Insert the events that are new, within the caller's transaction."""
    rows = {ids.event_id(connection.name, event.id): event for event in events}
    if not rows:
        return []
    statement = insert_into(session, tables.Event).on_conflict_do_nothing().returning(tables.Event.id)
    # In the order of their ids, so that two batches with the same events wait for each other, and never in a circle.
    new = set(session.scalars(statement, [_row(key, connection, rows[key]) for key in sorted(rows)]))
    seen: set[uuid.UUID] = set()
    accepted = []
    for event in events:
        key = ids.event_id(connection.name, event.id)
        accepted.append(Accepted(key, duplicate=key not in new or key in seen))
        seen.add(key)
    return accepted


def _row(key: uuid.UUID, connection: tables.Connection, event: BusinessEvent) -> dict[str, object]:
    at = now()
    return {
        "id": key,
        "connection_id": connection.id,
        "external_id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "data": dict(event.data),
        "people": {role: dataclasses.asdict(ref) for role, ref in event.people.items()},
        "received_at": at,
        "due_at": at,
        "attempts": 0,
    }
