"""The organisation of the flows' tests, seen over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, decide_prompts, identity, open_launch
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE
from tests.flows.conftest import event, guides, organised, organised_home, script

__all__ = ["event", "guides", "organised", "organised_home", "script"]

Credential = tuple[str, str]


@pytest.fixture
def credential(runtime: Runtime) -> Callable[..., Credential]:
    """Makes a credential with some scopes, for a connection or for all."""

    def make(*scopes: str, connection: str | None = None) -> Credential:
        return identity.create_credential(runtime, "a test", list(scopes), connection)

    return make


@pytest.fixture
def sign_in(runtime: Runtime, client: TestClient) -> Callable[..., SignedIn]:
    """Signs the client's browser in as somebody."""

    def as_person(key: str, via: str = "password") -> SignedIn:
        with runtime.db.read() as session:
            person_id = session.scalars(select(tables.Person.id).where(tables.Person.key == key)).one()
        token, signed_in = identity.open_session(runtime, person_id, via=via)
        client.cookies.set(SESSION_COOKIE, token, domain="bridge.test")
        return signed_in

    return as_person


@pytest.fixture
def ticket(organised: Runtime, event: Callable[..., BusinessEvent]) -> Callable[..., str]:
    """Prompts somebody by an event, and gives the ticket of the link."""

    def make(**parts: object) -> str:
        accept_event.accept(organised, "desk", [event(**parts)])
        decide_prompts.decide(organised)
        with organised.db.read() as session:
            newest = select(tables.Prompt).order_by(tables.Prompt.created_at.desc()).limit(1)
            prompt = session.scalars(newest).one()
        assert prompt.offered, prompt.detail
        return open_launch.ticket_for(organised, prompt.id)

    return make
