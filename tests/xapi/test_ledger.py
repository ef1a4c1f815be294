"""The ledger: a statement and its outbox rows, together or not at all, once."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.tables import Connection, Outbox, Statement
from bridge.xapi import ledger
from bridge.xapi.validation import InvalidStatement

ISSUER = "http://bridge.test"
ACTOR = {"account": {"homePage": ISSUER, "name": "E001"}}


@pytest.fixture
def bridge(bridge: Runtime) -> Runtime:
    """With destinations, and with what is none."""
    with bridge.db.write() as session:
        session.add_all(
            [
                Connection(name="lrs", connector="lrs", config={"endpoint": "https://lrs.test/xapi"}),
                Connection(name="here", connector="lrs", config={"endpoint": f"{ISSUER}/xapi/"}),
                Connection(name="off", connector="lrs", config={"endpoint": "https://off.test/"}, enabled=False),
                Connection(name="desk", connector="webhook", config={}),
                Connection(name="gone", connector="a-plugin-that-was-removed", config={}),
            ]
        )
    return bridge


def statement(**parts: Any) -> dict[str, Any]:
    whole = {
        "id": "6690e6c9-3ef0-4ed3-8b37-7f3964730bee",
        "actor": ACTOR,
        "verb": {"id": "http://adlnet.gov/expapi/verbs/launched"},
        "object": {"id": "https://lms.test/course/1"},
        "timestamp": "2026-03-04T07:06:07.890+02:00",
    }
    return {**whole, **parts}


def payload(**parts: Any) -> bytes:
    return json.dumps(statement(**parts)).encode()


def queued(bridge: Runtime) -> list[str]:
    with bridge.db.read() as session:
        return sorted(session.scalars(select(Connection.name).join(Outbox, Outbox.connection_id == Connection.id)))


def rows(bridge: Runtime) -> list[Statement]:
    with bridge.db.read() as session:
        return list(session.scalars(select(Statement).order_by(Statement.stored)))


def test_a_statement_is_queued_for_every_lrs_that_is_on(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        assert ledger.add(session, payload(), issuer=ISSUER)
    assert queued(bridge) == ["here", "lrs"]


def test_the_same_id_again_changes_nothing(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        ledger.add(session, payload(), issuer=ISSUER)
        assert not ledger.add(session, payload(object={"id": "https://lms.test/other"}), issuer=ISSUER)
    with bridge.db.write() as session:
        assert not ledger.add(session, payload(), issuer=ISSUER)
    assert ([row.payload for row in rows(bridge)], len(queued(bridge))) == ([payload()], 2)


def test_an_id_that_somebody_else_has_used_is_told(bridge: Runtime) -> None:
    entry = ledger.Entry(payload(), statement())
    with bridge.db.write() as session:
        ledger.add_received(session, [entry], authority="a stranger", issuer=ISSUER)
        with capture_logs() as logs:
            assert not ledger.add(session, payload(), issuer=ISSUER)
    assert [(one["log_level"], one["id"], one["authority"]) for one in logs] == [
        ("error", statement()["id"], "a stranger")
    ]


def test_a_fact_that_is_rolled_back_leaves_no_statement(bridge: Runtime) -> None:
    with pytest.raises(RuntimeError), bridge.db.write() as session:
        ledger.add(session, payload(), issuer=ISSUER)
        raise RuntimeError
    assert (rows(bridge), queued(bridge)) == ([], [])


def test_the_columns_say_what_the_bytes_say(bridge: Runtime) -> None:
    registration = "EC531277-B57B-4C15-8D91-D292C5B2B8F7"
    with bridge.db.write() as session:
        ledger.add(session, payload(context={"registration": registration}), issuer=ISSUER)
    [row] = rows(bridge)
    assert row.id == uuid.UUID(statement()["id"])
    assert row.timestamp == dt.datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=dt.UTC)
    assert json.loads(row.actor) == ACTOR
    assert (row.verb, row.object_id) == (statement()["verb"]["id"], statement()["object"]["id"])
    assert row.registration == uuid.UUID(registration)
    assert json.loads(row.authority) == {"account": {"homePage": ISSUER, "name": "flowbridge"}}


@pytest.mark.parametrize(
    ("actor", "key"),
    [
        ({"mbox": "mailto:Ann@EXAMPLE.com", "name": "Ann"}, '{"mbox":"mailto:Ann@example.com"}'),
        ({"mbox_sha1sum": "AB" * 20}, '{"mbox_sha1sum":"' + "ab" * 20 + '"}'),
        ({"openid": "https://ann.test/"}, '{"openid":"https://ann.test/"}'),
        (
            {"account": {"name": "a\u0000b", "homePage": "https://x.test"}},
            '{"account":{"homePage":"https://x.test","name":"a\\u0000b"}}',
        ),
        ({"objectType": "Group", "member": [ACTOR]}, ""),
    ],
)
def test_an_actor_is_found_by_its_identifier_alone(actor: dict[str, Any], key: str, bridge: Runtime) -> None:
    with bridge.db.write() as session:
        ledger.add(session, payload(actor=actor), issuer=ISSUER)
    assert [row.actor for row in rows(bridge)] == [key]


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ({"objectType": "Agent", **ACTOR}, ledger.identifier(ACTOR)),
        (
            {"objectType": "StatementRef", "id": "8F87CCDE-BB56-4C2E-AB83-44982EF22DF0"},
            "8f87ccde-bb56-4c2e-ab83-44982ef22df0",
        ),
        ({"objectType": "SubStatement", **{name: statement()[name] for name in ("actor", "verb", "object")}}, ""),
    ],
)
def test_an_object_is_found_by_what_it_is(target: dict[str, Any], key: str, runtime: Runtime) -> None:
    with runtime.db.write() as session:
        ledger.add(session, payload(object=target), issuer=ISSUER)
    assert [row.object_id for row in rows(runtime)] == [key]


def test_names_too_long_for_an_index_are_kept_apart_all_the_same(bridge: Runtime) -> None:
    names = ["ä" * 5000 + end for end in "ab"]
    for name in names:
        account = {"account": {"homePage": ISSUER, "name": name}}
        with bridge.db.write() as session:
            ledger.add(session, payload(id=str(uuid.uuid4()), actor=account), issuer=ISSUER)
    actors = [row.actor for row in rows(bridge)]
    assert len(set(actors)) == 2
    assert all(len(actor.encode()) < 1000 for actor in actors)


def test_what_was_received_goes_to_every_lrs_but_our_own(bridge: Runtime) -> None:
    entry = ledger.Entry(payload(), statement())
    with bridge.db.write() as session:
        added = ledger.add_received(session, [entry], authority="{}", issuer=ISSUER)
        assert list(added) == [uuid.UUID(statement()["id"])]
        assert ledger.add_received(session, [entry], authority="{}", issuer=ISSUER) == {}
    assert queued(bridge) == ["lrs"]


def test_a_batch_is_stored_in_its_order(bridge: Runtime) -> None:
    ids = [str(uuid.uuid4()) for _ in range(300)]
    with bridge.db.write() as session:
        ledger.insert(
            session.connection(),
            [ledger.Entry(payload(id=of), statement(id=of)) for of in ids],
            stored=now(),
            authority="",
        )
    assert [str(row.id) for row in rows(bridge)] == ids


def test_a_time_without_a_zone_is_utc_and_one_beyond_the_calendar_is_refused() -> None:
    assert ledger.moment("2026-03-04T05:06:07") == dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    with pytest.raises(InvalidStatement, match="9999"):
        ledger.moment("0001-01-01T00:00:00+14:00")


def test_a_launch_is_reported_with_its_outcome(
    bridge: Runtime, launch: tables.Launch, outcome: Callable[..., tables.Outcome]
) -> None:
    with bridge.db.write() as session:
        for taken in session.scalars(select(Connection).where(Connection.name == "desk")):
            launch.prompt.event.connection = taken
        session.add(launch)
        done = outcome(launch, "completed")
        session.add(done)
        session.flush()
        ledger.report(bridge, session.connection(), launch, "launched", at=launch.started_at)
        ledger.report(bridge, session.connection(), launch, "completed", at=done.occurred_at, outcome=done)
        ledger.report(bridge, session.connection(), launch, "completed", at=now(), outcome=done)
    launched, completed = rows(bridge)
    assert (launched.launch_id, launched.outcome_id) == (launch.id, None)
    assert (completed.launch_id, completed.outcome_id, completed.id) == (launch.id, done.id, done.id)
    assert launched.registration == completed.registration == launch.id
    assert len(queued(bridge)) == 4
