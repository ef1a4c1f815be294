"""A wrong statement of the bridge is taken back, wherever it is, and the evidence of that follows the profile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select

from bridge.domain.events import BusinessEvent
from bridge.flows import (
    accept_event,
    configure,
    dead_letters,
    decide_prompts,
    drain_outbox,
    identity,
    open_launch,
    record_outcome,
    show_prompts,
    void_statement,
)
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.xapi import ledger
from tests.flows.conftest import organise
from tests.xapi.following import follows
from tests.xapi.test_profile_followed import DOCUMENT, check

LRSS = """
connections:
  - {name: all, connector: lrs, config: {endpoint: "http://one.test/xapi", key: k, secret: s}}
  - {name: late, connector: lrs, config: {endpoint: "http://two.test/xapi", key: k, secret: s}}
  - {name: never, connector: lrs, config: {endpoint: "http://three.test/xapi", key: k, secret: s}}
"""
REASON = "The quiz was marked with the wrong key"
Make = Callable[..., BusinessEvent]


@pytest.fixture
def bridge(each_runtime: Runtime, guides: Path, tmp_path: Path, event: Make) -> Runtime:
    """Sam has ticked, and finished, a checklist; three LRSs are there to be told."""
    organise(each_runtime, guides, tmp_path)
    file = tmp_path / "lrss.yaml"
    file.write_text(LRSS)
    configure.apply(each_runtime, file)
    accept_event.accept(each_runtime, "desk", [event(type="desk.project.created")])
    decide_prompts.decide(each_runtime)
    with each_runtime.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E001")).one()
    (prompt,) = show_prompts.open_prompts(each_runtime, sam)
    opened = open_launch.open_prompt(each_runtime, prompt.id, sam)
    for step in opened.steps:
        record_outcome.tick(each_runtime, opened.launch_id, sam, step.id, done=True)
    record_outcome.finish(each_runtime, opened.launch_id, sam)
    return each_runtime


def stated(bridge: Runtime, verb: str = "") -> list[tables.Statement]:
    with bridge.db.read() as session:
        rows = session.scalars(select(tables.Statement).order_by(tables.Statement.seq)).all()
    return [row for row in rows if row.verb.endswith(verb)]


def queued(bridge: Runtime, seq: int) -> set[str]:
    waits = select(tables.Connection.name).join(tables.Outbox, tables.Outbox.connection_id == tables.Connection.id)
    with bridge.db.read() as session:
        return set(session.scalars(waits.where(tables.Outbox.statement_seq == seq)))


def test_it_is_voided_here_and_wherever_it_is_or_will_be(bridge: Runtime) -> None:
    (row,) = stated(bridge, "completed")
    with bridge.db.write() as session:
        ids = {each.name: each.id for each in session.scalars(select(tables.Connection))}
        outbox = tables.Outbox
        mine = delete(outbox).where(outbox.statement_seq == row.seq)
        session.execute(mine.where(outbox.connection_id.in_([ids["all"], ids["never"]])))
        session.add(tables.StatementReceipt(statement_seq=row.seq, connection_id=ids["all"], state="delivered"))
    voided_by = void_statement.void(bridge, row.id, reason=f" {REASON} ", actor="cli")
    (voiding,) = stated(bridge, "voided")
    (now_voided,) = stated(bridge, "completed")
    assert (now_voided.voided_by, voiding.id) == (voided_by, voided_by)
    assert voiding.launch_id == row.launch_id
    assert queued(bridge, voiding.seq) == {"all", "late"}
    with bridge.db.read() as session:
        entry = session.scalars(select(tables.Audit).where(tables.Audit.action == "statement.void")).one()
    assert (entry.actor, entry.subject) == ("cli", str(row.id))
    assert entry.detail == {"voided_by": str(voided_by), "reason": REASON}


def refuse(bridge: Runtime, row: tables.Statement) -> None:
    """The LRS "never" refuses it."""
    with bridge.db.write() as session:
        never = session.scalars(select(tables.Connection.id).where(tables.Connection.name == "never")).one()
        outbox = tables.Outbox
        session.execute(delete(outbox).where(outbox.statement_seq == row.seq, outbox.connection_id == never))
        session.add(tables.StatementReceipt(statement_seq=row.seq, connection_id=never, state="rejected", error="no"))


def void_at_the_lrs(bridge: Runtime, row: tables.Statement) -> None:
    voiding = {
        "actor": {"mbox": "mailto:admin@example.com"},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/voided"},
        "object": {"objectType": "StatementRef", "id": str(row.id)},
    }
    auth = identity.create_credential(bridge, "admins", ["all"])
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        headers = {"X-Experience-API-Version": "1.0.3"}
        assert client.post("/xapi/statements", json=voiding, auth=auth, headers=headers).status_code == 200


@pytest.mark.parametrize("how", ["by the bridge", "at the lrs", "before it is refused"])
def test_what_was_refused_and_is_voided_is_never_sent_again(how: str, bridge: Runtime) -> None:
    (row,) = stated(bridge, "completed")
    if how != "before it is refused":
        refuse(bridge, row)
        assert [letter.id for letter in dead_letters.letters(bridge, "never")] == [row.id]
    if how == "at the lrs":
        void_at_the_lrs(bridge, row)
    else:
        void_statement.void(bridge, row.id, reason=REASON, actor="cli")
    if how == "before it is refused":
        refuse(bridge, row)
    assert drain_outbox.replay(bridge, "never") == 0
    assert list(dead_letters.letters(bridge, "never")) == []
    assert queued(bridge, row.seq) == {"all", "late"}
    with bridge.db.read() as session:
        receipt = session.scalars(select(tables.StatementReceipt)).one()
    (voiding,) = stated(bridge, "voided")
    assert (receipt.state, receipt.replaced_by, receipt.error) == ("replaced", voiding.seq, "no")


def test_the_lrs_shows_it_as_voided(bridge: Runtime) -> None:
    (row,) = stated(bridge, "completed")
    voided_by = void_statement.void(bridge, row.id, reason=REASON, actor="cli")
    key, secret = identity.create_credential(bridge, "auditors", ["statements/read"])
    headers = {"X-Experience-API-Version": "1.0.3"}
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        client.auth = (key, secret)

        def got(**asked: str) -> int:
            return client.get("/xapi/statements", params=asked, headers=headers).status_code

        assert (got(statementId=str(row.id)), got(voidedStatementId=str(row.id))) == (404, 200)
        asked = {"registration": str(row.registration)}
        found = client.get("/xapi/statements", params=asked, headers=headers).json()["statements"]
    assert {statement["id"] for statement in found} >= {str(voided_by)}
    assert str(row.id) not in {statement["id"] for statement in found}


def test_all_that_the_bridge_stated_of_the_launch_follows_the_profile(bridge: Runtime) -> None:
    (row,) = stated(bridge, "completed")
    void_statement.void(bridge, row.id, reason=REASON, actor="cli")
    own = [each for each in stated(bridge) if each.authority == ledger.own_authority(bridge.settings.issuer)]
    statements = [check(each.payload) for each in sorted(own, key=lambda each: (each.timestamp, each.seq))]
    verbs = [statement["verb"]["id"].rpartition("/")[2] for statement in statements]
    assert verbs == ["launched", "progressed", "progressed", "completed", "voided"]
    assert follows(statements, DOCUMENT)
    assert statements[-1]["object"]["id"] == str(row.id)


def test_nobody_voids_twice_nor_what_is_not_ours(bridge: Runtime) -> None:
    (row,) = stated(bridge, "completed")
    with pytest.raises(Invalid, match="say why"):
        void_statement.void(bridge, row.id, reason=" ", actor="cli")
    assert not stated(bridge, "voided")
    voided_by = void_statement.void(bridge, row.id, reason=REASON, actor="cli")
    with pytest.raises(Refused, match="is voided already"):
        void_statement.void(bridge, row.id, reason=REASON, actor="cli")
    with pytest.raises(Refused, match="can't be voided"):
        void_statement.void(bridge, voided_by, reason=REASON, actor="cli")
    with pytest.raises(NotFound, match="there is no statement"):
        void_statement.void(bridge, uuid.uuid4(), reason=REASON, actor="cli")
    (launched,) = stated(bridge, "launched")
    foreign = {**json.loads(launched.payload), "id": str(uuid.uuid4())}
    entry = ledger.Entry(json.dumps(foreign).encode(), foreign)
    with bridge.db.write() as session:
        ledger.add_received(session, [entry], authority='{"mbox":"mailto:x@example.com"}', issuer="http://bridge.test")
    with pytest.raises(Refused, match="by somebody else"):
        void_statement.void(bridge, uuid.UUID(foreign["id"]), reason=REASON, actor="cli")
    assert len(stated(bridge, "voided")) == 1
