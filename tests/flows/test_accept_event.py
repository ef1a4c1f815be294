"""Events in: each once, a batch whole or not at all, and nothing from a connection that is switched off."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from bridge.connect import ConfigError, InboundRequest, Reply, SignatureInvalid, UnexpectedPayload
from bridge.connect.signing import sign_standard_webhook
from bridge.domain import ids
from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import tables
from tests.flows.conftest import SECRET

Make = Callable[..., BusinessEvent]


def configured(runtime: Runtime, tmp_path: Path) -> Runtime:
    file = tmp_path / "flowbridge.yaml"
    file.write_text(
        f"""
connections:
  - {{name: desk, connector: webhook, config: {{secrets: ["{SECRET}"]}}}}
  - {{name: shop, connector: webhook, config: {{secrets: ["{SECRET}"]}}}}
  - {{name: guides, connector: files, config: {{path: /}}}}
"""
    )
    configure.apply(runtime, file)
    return runtime


@pytest.fixture
def bridge(runtime: Runtime, tmp_path: Path) -> Runtime:
    return configured(runtime, tmp_path)


@pytest.fixture
def each_bridge(each_runtime: Runtime, tmp_path: Path) -> Runtime:
    return configured(each_runtime, tmp_path)


def stored(runtime: Runtime) -> int:
    with runtime.db.read() as session:
        return session.scalar(select(func.count()).select_from(tables.Event)) or 0


def switch_off(runtime: Runtime, name: str) -> None:
    with runtime.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one().enabled = False


def test_an_event_is_kept_as_it_came(bridge: Runtime, event: Make) -> None:
    (accepted,) = accept_event.accept(bridge, "desk", [event(people={"owner": PersonRef(id="sam", name="Sam")})])
    with bridge.db.read() as session:
        row = session.get_one(tables.Event, accepted.id)
    assert (row.external_id, row.type, row.subject, row.time) == (
        "evt-1",
        "desk.opportunity.created",
        "opportunity/42",
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    )
    assert row.data == {"amount": 250_000, "customer": "Hooli"}
    assert row.people == {"owner": {"id": "sam", "email": "", "name": "Sam"}}
    assert row.due_at is not None


def test_a_worker_is_nudged_only_when_something_is_new(bridge: Runtime, event: Make) -> None:
    nudged: list[str] = []
    bridge.nudge = nudged.append
    for _ in range(3):
        accept_event.accept(bridge, "desk", [event()])
    assert nudged == ["decide"]
    assert accept_event.accept(bridge, "desk", []) == []


def test_the_same_id_of_another_connection_is_another_event(bridge: Runtime, event: Make) -> None:
    (ours,) = accept_event.accept(bridge, "desk", [event()])
    (theirs,) = accept_event.accept(bridge, "shop", [event()])
    assert ours.id != theirs.id
    assert not theirs.duplicate


def test_a_batch_may_hold_the_same_event_twice(bridge: Runtime, event: Make) -> None:
    accepted = accept_event.accept(bridge, "desk", [event(), event(id="evt-2"), event()])
    assert [item.duplicate for item in accepted] == [False, False, True]
    assert accepted[0].id == accepted[2].id
    assert stored(bridge) == 2


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("id", "", r"\[1\]\.id: is missing or empty"),
        ("type", "", r"\[1\]\.type: is missing or empty"),
        ("source", "", r"\[1\]\.source: is missing or empty"),
        ("id", "x" * 256, r"\[1\]\.id: is longer than 255 characters"),
        ("subject", "x" * 1025, r"\[1\]\.subject: is longer than 1024 characters"),
    ],
)
def test_a_batch_with_a_wrong_event_is_refused_as_a_whole(
    bridge: Runtime, event: Make, part: str, value: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as wrong:
        accept_event.accept(bridge, "desk", [event(), event(**{"id": "evt-2", part: value})])
    assert wrong.value.field == f"[1].{part}"
    assert stored(bridge) == 0


def test_nothing_comes_in_for_a_connection_that_is_not_there_or_off(bridge: Runtime, event: Make) -> None:
    with pytest.raises(NotFound, match="there is no connection 'dsek'"):
        accept_event.accept(bridge, "dsek", [event()])
    switch_off(bridge, "desk")
    with pytest.raises(Refused, match="'desk' is switched off") as refused:
        accept_event.accept(bridge, "desk", [event()])
    assert refused.value.code == "connection_disabled"
    assert stored(bridge) == 0


def test_of_twenty_arrivals_at_once_one_is_new(each_bridge: Runtime, event: Make) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: accept_event.accept(each_bridge, "desk", [event()])[0], range(20)))
    assert [item.duplicate for item in found].count(False) == 1
    assert len({item.id for item in found}) == 1
    assert stored(each_bridge) == 1


@pytest.mark.postgres
def test_batches_with_the_same_events_in_any_order_do_not_lock_each_other_out(
    pg_runtime: Runtime, tmp_path: Path, event: Make
) -> None:
    """Both wait for an event in their middle, each with its own first half in hand."""
    bridge = configured(pg_runtime, tmp_path)
    keys = sorted((ids.event_id("desk", f"evt-{number}"), f"evt-{number}") for number in range(20))
    events = [event(id=external_id) for _, external_id in keys]
    waiting = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(2) as pool, bridge.db.read() as watch:
        with bridge.db.write() as holder:
            connection = holder.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one()
            accept_event.store(holder, connection, [events[10]])
            both = [pool.submit(accept_event.accept, bridge, "desk", batch) for batch in (events, events[::-1])]
            deadline = time.monotonic() + 10
            while (watch.scalar(waiting) or 0) < 2:
                watch.rollback()
                assert time.monotonic() < deadline
        found = [batch.result(10) for batch in both]
    assert sum(not item.duplicate for batch in found for item in batch) == 19
    assert stored(bridge) == 20


# By webhook.


def hook(body: bytes, **headers: str) -> InboundRequest:
    signed = sign_standard_webhook(SECRET, "msg_1", body)
    return InboundRequest({"content-type": "application/cloudevents+json", **signed, **headers}, body)


def cloudevent(**parts: Any) -> bytes:
    whole = {
        "specversion": "1.0",
        "id": "1",
        "type": "deal.won",
        "source": "/crm",
        "data": {"owner": "sam@example.com"},
    }
    return json.dumps({**whole, **parts}).encode()


def test_a_signed_webhook_is_stored(bridge: Runtime) -> None:
    found = accept_event.accept_hook(bridge, "desk", hook(cloudevent()))
    assert isinstance(found, list)
    assert [item.duplicate for item in found] == [False]
    again = accept_event.accept_hook(bridge, "desk", hook(cloudevent()))
    assert isinstance(again, list)
    assert again[0].duplicate


def test_a_wrong_signature_stores_nothing(bridge: Runtime) -> None:
    request = hook(cloudevent())
    with pytest.raises(SignatureInvalid):
        accept_event.accept_hook(bridge, "desk", InboundRequest(request.headers, request.body + b" "))
    assert stored(bridge) == 0


def test_what_is_signed_and_malformed_names_its_field(bridge: Runtime) -> None:
    with pytest.raises(UnexpectedPayload) as wrong:
        accept_event.accept_hook(bridge, "desk", hook(cloudevent(type=7)))
    assert wrong.value.field == "type"
    assert stored(bridge) == 0


def test_a_handshake_is_answered_and_stores_nothing(bridge: Runtime) -> None:
    asked = InboundRequest({"webhook-request-origin": "crm.example.com"}, b"", method="OPTIONS")
    reply = accept_event.accept_hook(bridge, "desk", asked)
    assert isinstance(reply, Reply)
    assert reply.headers["WebHook-Allowed-Origin"] == "crm.example.com"


def test_a_webhook_needs_a_connection_that_takes_some(bridge: Runtime) -> None:
    with pytest.raises(NotFound, match=r"'guides' \(files\) takes no webhooks"):
        accept_event.accept_hook(bridge, "guides", hook(cloudevent()))
    switch_off(bridge, "desk")
    with pytest.raises(Refused) as refused:
        accept_event.accept_hook(bridge, "desk", hook(cloudevent()))
    assert refused.value.code == "connection_disabled"


def test_a_secret_that_is_missing_is_no_wrong_signature(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        desk = session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one()
        desk.config = {"secrets": ["env:BRIDGE_TEST_NOT_SET"]}
    with pytest.raises(ConfigError, match="BRIDGE_TEST_NOT_SET"):
        accept_event.accept_hook(bridge, "desk", hook(cloudevent()))
