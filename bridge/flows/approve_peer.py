"""Approve peers that registered themselves: what they get is what an admin ticks, and nothing before that."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bridge.flows.errors import NotFound, Refused
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.lti.platform import registrations
from bridge.lti.tool import platforms
from bridge.store import now, tables
from bridge.store.tables import LmsDeployment


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A connection that waits for an admin's word: for its approval, or for that of so many deployments."""

    name: str
    pending: bool
    deployments: int


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A tool or an LMS with its settings, for the page on which an admin decides about it."""

    name: str
    connector: str
    pending: bool
    enabled: bool
    config: Mapping[str, Any]
    deployments: tuple[Deployment, ...]

    @property
    def is_tool(self) -> bool:
        return self.connector == registrations.CONNECTOR

    @property
    def host(self) -> str:
        address: str = self.config["target_link_uri" if self.is_tool else "issuer"]
        return registrations.origin(address)


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that an LMS launched from before anybody trusted it."""

    id: str
    first_seen: dt.datetime
    last_seen: dt.datetime
    launches: int


def waiting(runtime: Runtime) -> list[Waiting]:
    """What waits, by name."""
    peers = tables.Connection.connector.in_((registrations.CONNECTOR, platforms.CONNECTOR))
    with runtime.db.read() as session:
        rows = session.scalars(select(tables.Connection).where(peers).order_by(tables.Connection.name)).all()
        seen = list(session.scalars(select(LmsDeployment.connection_id)))
    found = [Waiting(row.name, bool(row.options.get("pending")), seen.count(row.id)) for row in rows]
    return [one for one in found if one.pending or one.deployments]


def peer(runtime: Runtime, name: str) -> Peer:
    """A tool or an LMS; raises NotFound where the connection is gone, or is neither."""
    with runtime.db.read() as session:
        row = _peer(session, name)
        query = select(LmsDeployment).where(LmsDeployment.connection_id == row.id)
        seen = session.scalars(query.order_by(LmsDeployment.first_seen)).all()
    return Peer(
        name=row.name,
        connector=row.connector,
        pending=bool(row.options.get("pending")),
        enabled=row.enabled,
        config=row.config,
        deployments=tuple(Deployment(d.deployment_id, d.first_seen, d.last_seen, d.launches) for d in seen),
    )


def approve(
    runtime: Runtime,
    name: str,
    *,
    scopes: Collection[str] = (),
    send_name: bool = False,
    send_email: bool = False,
    actor: str,
) -> None:
    """Switch on a peer that waits; a tool gets, of what it asked for, what is named here. Raises NotFound, Refused."""
    with runtime.db.write() as session:
        row = _pending(session, name)
        granted: dict[str, Any] = {}
        if row.connector == registrations.CONNECTOR:
            granted = {
                "scopes": [scope for scope in row.config["scopes"] if scope in scopes],
                "send_name": row.config["send_name"] and send_name,
                "send_email": row.config["send_email"] and send_email,
            }
        row.config = row.config | granted
        row.options = {key: value for key, value in row.options.items() if key != "pending"}
        row.enabled, row.updated_at = True, now()
        session.add(tables.Audit(actor=actor, action=f"{row.connector}.approve", subject=name, detail=granted))


def reject(runtime: Runtime, name: str, *, actor: str) -> None:
    """Forget a peer that waits. Raises NotFound, and Refused where it does not wait or something belongs to it."""
    try:
        with runtime.db.write() as session:
            row = _pending(session, name)
            session.delete(row)
            session.add(tables.Audit(actor=actor, action=f"{row.connector}.reject", subject=name))
    except IntegrityError:
        raise Refused(f"'{name}' can't be removed: something here belongs to it", code="in_use") from None


def trust(runtime: Runtime, name: str, deployment_id: str, *, actor: str) -> None:
    """Let an LMS launch from a deployment that waits. Raises NotFound."""
    with runtime.db.write() as session:
        row = _peer(session, name)
        _take_deployment(session, row, deployment_id)
        trusted = [*row.config.get("deployment_ids", ()), deployment_id]
        row.config, row.updated_at = row.config | {"deployment_ids": list(dict.fromkeys(trusted))}, now()
        _note(session, actor, "lti_platform.trust", name, deployment_id)


def dismiss(runtime: Runtime, name: str, deployment_id: str, *, actor: str) -> None:
    """Forget a deployment that waits; its next launch makes it wait again. Raises NotFound."""
    with runtime.db.write() as session:
        _take_deployment(session, _peer(session, name), deployment_id)
        _note(session, actor, "lti_platform.dismiss", name, deployment_id)


def _peer(session: Session, name: str) -> tables.Connection:
    row = find_connection(session, name)
    if row.connector not in (registrations.CONNECTOR, platforms.CONNECTOR):
        raise NotFound(f"'{name}' is no LTI tool and no LMS that launches flowbridge")
    return row


def _pending(session: Session, name: str) -> tables.Connection:
    row = _peer(session, name)
    session.refresh(row, with_for_update=True)
    if not row.options.get("pending"):
        raise Refused(f"'{name}' does not wait for approval; somebody decided about it before", code="not_pending")
    return row


def _take_deployment(session: Session, row: tables.Connection, deployment_id: str) -> None:
    ours = (LmsDeployment.connection_id == row.id) & (LmsDeployment.deployment_id == deployment_id)
    if session.execute(delete(LmsDeployment).where(ours).returning(LmsDeployment.deployment_id)).first() is None:
        raise NotFound(f"the deployment '{deployment_id}' of '{row.name}' does not wait; nothing was changed")


def _note(session: Session, actor: str, action: str, name: str, deployment_id: str) -> None:
    session.add(tables.Audit(actor=actor, action=action, subject=name, detail={"deployment_id": deployment_id}))
