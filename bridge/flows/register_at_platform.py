"""Register the bridge at an LMS: an admin makes an address, and whoever looks after the LMS opens it from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.flows import registration_tickets as tickets
from bridge.flows.errors import Invalid
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.lti import addresses
from bridge.lti.errors import LtiError
from bridge.lti.platform.registrations import origin
from bridge.lti.tool import registration
from bridge.lti.tool.platforms import CONNECTOR
from bridge.lti.tool.registration import LmsConfiguration
from bridge.store import now, tables


@dataclasses.dataclass(frozen=True, slots=True)
class Invitation:
    """The address to paste into an LMS."""

    ticket_id: str
    url: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """What came of it: the connection, and whether an admin still has to approve it."""

    name: str
    issuer: str
    pending: bool
    has_deployment: bool

    @property
    def origin(self) -> str:
        """The page of the LMS that opened the registration is told there, and nowhere else."""
        return origin(self.issuer)


def invite(runtime: Runtime, name: str, url: str, person: SignedIn) -> Invitation:
    """An address that registers the bridge, once, at the LMS at ``url``, as a connection of that name. Raises Invalid.

    Another LMS that uses it waits for approval: who has the address could otherwise attach an LMS of their own.
    """
    try:
        addresses.web(runtime, url, "url")
    except LtiError as error:
        raise Invalid("", str(error)) from None
    token = tickets.make(runtime, "platform", name, addresses.place(url)[0], person)
    query = urlencode({"ticket": token})
    return Invitation(tickets.id_of(token), f"{runtime.settings.issuer}/lti/tool/register?{query}")


def look(runtime: Runtime, ticket: str, openid_configuration: str) -> LmsConfiguration:
    """The LMS that asks; changes nothing. Raises LtiError."""
    with runtime.db.read() as session:
        tickets.find(session, "platform", ticket)
    return registration.configuration(runtime, openid_configuration)


def register(runtime: Runtime, ticket: str, openid_configuration: str, registration_token: str) -> Registered:
    """Register at the LMS and keep its answer. The ticket is used up unless nothing came of it. Raises LtiError."""
    lms = look(runtime, ticket, openid_configuration)
    with runtime.db.write() as session:
        used = tickets.find(session, "platform", ticket)
        tickets.take(session, used)
    try:
        config = registration.register(runtime, lms, registration_token)
    except LtiError:
        with runtime.db.write() as session:
            tickets.give_back(session, used)
        raise
    with runtime.db.write() as session:
        row = _keep(session, used, config, expected=lms.hostname == used.host)
        tickets.settle(session, used, row)
        detail = {"issuer": lms.issuer, "pending": not row.enabled}
        actor = tickets.admin_of(session, used)
        session.add(tables.Audit(actor=actor, action="lti_platform.register", subject=row.name, detail=detail))
        return Registered(row.name, lms.issuer, "pending" in row.options, bool(row.config["deployment_ids"]))


def _keep(
    session: Session, ticket: tables.RegistrationTicket, config: Mapping[str, Any], *, expected: bool
) -> tables.Connection:
    """The connection of this (issuer, client id): the one that is there, brought up to date, or a new one."""
    connection = tables.Connection
    known = select(connection).where(
        connection.connector == CONNECTOR,
        connection.config["issuer"].as_string() == config["issuer"],
        connection.config["client_id"].as_string() == config["client_id"],
    )
    row = session.scalars(known.order_by(connection.id)).first()
    if row is not None:
        trusted = [*row.config.get("deployment_ids", ()), *(config["deployment_ids"] if expected else ())]
        kept = {name: value for name, value in row.config.items() if name != "jwks"}
        row.config = {**kept, **config, "deployment_ids": list(dict.fromkeys(trusted))}
        row.options = {**row.options, "self_registered": True}
        row.problem, row.updated_at = None, now()
        return row
    row = connection(
        name=tickets.free_name(session, ticket.name),
        connector=CONNECTOR,
        config=dict(config),
        options={"self_registered": True} if expected else {"self_registered": True, "pending": True},
        enabled=expected,
    )
    session.add(row)
    return row
