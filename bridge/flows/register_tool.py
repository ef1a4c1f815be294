"""Register a tool: an admin opens its registration URL, it registers itself, and waits for approval."""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import urlencode, urlsplit

from bridge.flows import registration_tickets as tickets
from bridge.flows.errors import Invalid
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.lti import addresses
from bridge.lti.errors import LtiError
from bridge.lti.platform import registration
from bridge.lti.platform.registrations import CONNECTOR, origin
from bridge.store import tables


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """A registration under way: the address that the admin's browser opens, and who answers there."""

    ticket_id: str
    url: str = dataclasses.field(repr=False)
    origin: str


def begin(runtime: Runtime, name: str, url: str, person: SignedIn) -> Begun:
    """Begin the registration of the tool at its registration URL as a connection of that name. Raises Invalid."""
    try:
        addresses.web(runtime, url, "url")
    except LtiError as error:
        raise Invalid("", str(error)) from None
    token = tickets.make(runtime, "tool", name, addresses.place(url)[0], person)
    ours = {
        "openid_configuration": f"{runtime.settings.issuer}/.well-known/openid-configuration",
        "registration_token": token,
    }
    joint = "&" if urlsplit(url).query else "?"
    return Begun(tickets.id_of(token), f"{url.rstrip('?&')}{joint}{urlencode(ours)}", origin(url))


def register(runtime: Runtime, authorization: str | None, body: bytes) -> dict[str, Any]:
    """Take a tool's registration request and answer it (LTI Dynamic Registration 1.0 section 3.5 and 3.6).

    The tool waits, switched off, until an admin approves it. A request that is refused leaves the token unused.
    Raises LtiError.
    """
    kind, _, token = (authorization or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise LtiError("registration_token_missing", "send the registration_token: Authorization: Bearer", status=401)
    with runtime.db.read() as session:
        ticket = tickets.find(session, "tool", token.strip())
    asked = registration.read(runtime, body)
    with runtime.db.write() as session:
        tickets.take(session, ticket)
        row = tables.Connection(
            name=tickets.free_name(session, ticket.name),
            connector=CONNECTOR,
            config=dict(asked.config),
            options={"self_registered": True, "pending": True},
            enabled=False,
        )
        session.add(row)
        tickets.settle(session, ticket, row)
        detail = {"calls_itself": asked.client_name, "domain": asked.domain}
        actor = tickets.admin_of(session, ticket)
        session.add(tables.Audit(actor=actor, action="lti_tool.register", subject=row.name, detail=detail))
    return asked.answer()
