"""One launch with all that led to it, at fixed ids and times."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app

AT = dt.datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=dt.UTC)


def make_launch(**asset: Any) -> tables.Launch:
    """Sam opens a checklist that the rule "stakeholder-risk" offered when Hooli's opportunity was created."""
    catalogue = tables.Connection(name="guides", connector="files", config={})
    crm = tables.Connection(name="desk", connector="webhook", config={})
    event = tables.Event(
        id=uuid.UUID("00000001-0000-4000-8000-000000000000"),
        connection=crm,
        external_id="evt-1",
        type="desk.opportunity.created",
        source="https://desk.test",
        subject="opportunity/42 of jane.doe@hooli.test",
        time=AT,
        data={"customer": "Hooli"},
        people={},
    )
    rule = tables.Rule(name="stakeholder-risk", event_type=event.type, definition={}, version=7)
    person = tables.Person(key="E001", name="Sam Seller", email="sam@example.com")
    kept = {
        "id": uuid.UUID("00000002-0000-4000-8000-000000000000"),
        "connection": catalogue,
        "external_id": "stakeholders.md",
        "kind": "checklist",
        "title": "Stakeholder risk in two minutes, überall",
        "summary": "",
        "language": "en_GB",
        "tags": [],
        "activity_id": "",
        "opening": {"how": "inline", "text": "- [ ] Ask"},
        "fingerprint": "",
        **asset,
    }
    prompt = tables.Prompt(
        id=uuid.UUID("00000003-0000-4000-8000-000000000000"),
        event=event,
        rule=rule,
        rule_version=6,
        person=person,
        asset=tables.Asset(**kept),
        offered=True,
        reason="offered",
    )
    opening = kept["opening"]
    return tables.Launch(
        id=uuid.UUID("00000004-0000-4000-8000-000000000000"),
        prompt=prompt,
        person=person,
        asset=prompt.asset,
        how=opening["how"],
        started_at=AT - dt.timedelta(minutes=1, seconds=30),
        progress=[],
    )


def make_outcome(launch: tables.Launch, verb: str, **parts: Any) -> tables.Outcome:
    values = {
        "id": uuid.UUID("00000005-0000-4000-8000-000000000000"),
        "launch": launch,
        "source": "checklist",
        "verb": verb,
        "completed": True,
        "occurred_at": AT,
    }
    return tables.Outcome(**{**values, **parts})


@pytest.fixture
def launch() -> tables.Launch:
    return make_launch()


@pytest.fixture
def outcome() -> Callable[..., tables.Outcome]:
    return make_outcome


@pytest.fixture
def launch_of() -> Callable[..., tables.Launch]:
    return make_launch


@pytest.fixture(params=["runtime", pytest.param("pg_runtime", marks=pytest.mark.postgres)])
def bridge(request: pytest.FixtureRequest) -> Runtime:
    """A ready bridge on each of the two databases."""
    made: Runtime = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def server(bridge: Runtime) -> Iterator[TestClient]:
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        yield client
