"""The outbox against an LRS that answers as it is told to: what goes out, how, and what is set aside."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, update

from bridge.connect import Attached, Statement
from bridge.flows import drain_outbox
from bridge.flows.drain_outbox import turn
from bridge.flows.errors import NotFound
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.tables import Destination, OutboxLease, StatementReceipt
from bridge.xapi import ledger
from tests.flows.forwarding import (
    BEHAVES,
    ISSUER,
    Answer,
    Lrs,
    connect,
    connection,
    destination,
    fill,
    ids_of,
    receipts,
    says,
    statement,
    waiting,
)


@pytest.fixture
def bridge(each_runtime: Runtime) -> Runtime:
    return each_runtime


def test_a_batch_is_delivered_byte_by_byte_over_one_connection(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 250)
    assert drain_outbox.drain(bridge) == 250
    assert [len(post) for post in lrs.posts] == [100, 100, 50]
    assert sorted(lrs.stored) == sorted(sent)
    assert list(lrs.stored.values()) == [statement(number).decode() for number in range(250)]
    assert receipts(bridge, "delivered").keys() == set(sent)
    assert (waiting(bridge), lrs.connections) == (0, 1)
    assert drain_outbox.drain(bridge) == 0


def test_a_batch_stays_within_a_megabyte(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 7, result={"response": "x" * 300_000})
    assert drain_outbox.drain(runtime) == 7
    assert [len(post) for post in lrs.posts] == [3, 3, 1]


def test_what_is_read_in_parts_goes_out_whole(bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_READ_BYTES", 0)
    connect(bridge, lrs, batch_bytes=1000)
    sent = fill(bridge, 60)
    assert drain_outbox.drain(bridge) == 60
    assert [of for post in lrs.posts for of in post] == sent
    assert {len(post) for post in lrs.posts} <= {1, 2, 3, 4}
    assert max(len(post) for post in lrs.posts) * len(statement(1)) <= 1000


def test_a_long_queue_goes_out_in_order_batch_by_batch(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs, batch=5)
    sent = fill(bridge, 200)
    leases: list[int] = []

    def counted(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.read() as session:
            held = session.scalars(select(OutboxLease)).one()
            leases.append(held.last_seq - held.first_seq + 1)
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([counted] * 40)
    assert drain_outbox.drain(bridge) == 200
    assert [of for post in lrs.posts for of in post] == sent
    assert {len(post) for post in lrs.posts} == {5}
    assert leases[0] == 5  # the first claim shows how fast the LRS is
    assert receipts(bridge, "delivered").keys() == set(sent)


def test_one_poisoned_statement_is_found_and_set_aside_with_the_words_of_the_lrs(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 50)
    lrs.poison = {sent[31]}
    assert drain_outbox.drain(bridge) == 50
    assert receipts(bridge, "delivered").keys() == set(sent) - {sent[31]}
    [(rejected, words)] = receipts(bridge, "rejected").items()
    assert (rejected, "made of glass" in str(words)) == (sent[31], True)
    assert len(lrs.posts) <= 2 * 6 + 1
    assert (waiting(bridge), connection(bridge).problem, connection(bridge).paused_until) == (0, None, None)


def test_rejected_ones_can_be_sent_again(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 10)
    lrs.poison = {sent[2], sent[5]}
    drain_outbox.drain(bridge)
    lrs.poison = set()
    assert drain_outbox.replay(bridge, "lrs", [uuid.UUID(sent[2]), uuid.UUID(sent[3])]) == 1  # the other is delivered
    assert drain_outbox.drain(bridge) == 1
    assert receipts(bridge, "rejected").keys() == {sent[5]}
    assert drain_outbox.replay(bridge, "lrs") == 1
    assert drain_outbox.drain(bridge) == 1
    assert receipts(bridge, "delivered").keys() == set(sent)
    with pytest.raises(NotFound, match="no connection 'elsewhere'"):
        drain_outbox.replay(bridge, "elsewhere")


def test_a_conflict_on_a_batch_loses_none_of_it(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 40)
    lrs.refuses_known = True
    same, other = json.loads(statement(7)), json.loads(statement(20, object={"id": "https://lms.test/other"}))
    lrs.stored = {sent[7]: json.dumps(same), sent[20]: json.dumps(other)}
    assert drain_outbox.drain(bridge) == 40
    assert receipts(bridge, "delivered").keys() == set(sent) - {sent[20]}  # the known one is there already
    assert receipts(bridge, "rejected").keys() == {sent[20]}
    assert len(lrs.stored) == 40


@pytest.mark.parametrize("status", [413, 400])
def test_the_most_bytes_are_learned_from_the_answers(status: int, bridge: Runtime, lrs: Lrs) -> None:
    """400 without a word of size is how some LRSs say it: that both halves pass is what teaches it."""
    connect(bridge, lrs)
    long = {"result": {"response": "x" * 2000}}
    lrs.most_bytes, lrs.too_large = 60 * len(statement(10, **long)), status
    sent = fill(bridge, 240, **long)
    assert drain_outbox.drain(bridge) == 240
    refused, *others = [len(post) for post in lrs.posts]
    assert (refused, max(others)) == (100, 50)
    assert lrs.stored.keys() == set(sent)
    learned = destination(bridge).most_bytes
    assert learned is not None
    assert learned < lrs.most_bytes

    with bridge.db.write() as session:  # a day later it is asked for more again
        session.execute(update(Destination).values(learned_at=now() - dt.timedelta(days=1, minutes=1)))
        session.execute(delete(StatementReceipt))
        ledger.enqueue(session.connection(), [*range(1, 101)], [ledger.Sink(connection(bridge).id, {})])
    before = len(lrs.posts)
    assert drain_outbox.drain(bridge) == 100
    assert len(lrs.posts[before]) > 60


def test_a_few_that_are_refused_for_once_make_no_batch_smaller(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 4)
    lrs.script.append(says(400))
    assert drain_outbox.drain(runtime) == 4
    assert destination(runtime).most_bytes is None


def test_one_statement_that_is_too_large_by_itself_is_set_aside(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    small = fill(bridge, 3)
    with bridge.db.write() as session:
        ledger.add(session, statement(3, result={"response": "x" * 50_000}), issuer=ISSUER)
    lrs.most_bytes = 20_000
    assert drain_outbox.drain(bridge) == 4
    [(rejected, words)] = receipts(bridge, "rejected").items()
    assert (rejected, "413" in str(words)) == (ids_of(range(3, 4))[0], True)
    assert receipts(bridge, "delivered").keys() == set(small)


def test_what_a_destination_must_not_get_is_set_aside_and_the_rest_goes_out(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs, identity="mbox")
    sent = fill(bridge, 3)
    with bridge.db.write() as session:
        session.add(tables.Person(key="E1", name="Sam", email="sam@example.com"))
    assert drain_outbox.drain(bridge) == 3
    assert list(lrs.stored) == [sent[1]]
    assert json.loads(lrs.stored[sent[1]])["actor"] == {"mbox": "mailto:sam@example.com"}
    assert "e-mail address" in str(receipts(bridge, "rejected")[sent[0]])


@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_attachments_travel_with_their_statement(
    written: Callable[[str], str], bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connectors.lrs import Lrs as Connector

    sent: list[Statement] = []
    monkeypatch.setattr(Connector, "send", lambda self, statements: sent.extend(statements))
    connect(bridge, lrs)
    sha2 = hashlib.sha256(b"proof").hexdigest()
    kind = {"usageType": "https://u.test", "display": {"en": "Proof"}, "contentType": "text/plain", "length": 5}
    payload = statement(0, attachments=[{**kind, "sha2": written(sha2)}])
    entry = ledger.Entry(payload, json.loads(payload), (Attached(sha2, "text/plain", b"proof"),))
    with bridge.db.write() as session:
        ledger.add_received(session, [entry], authority="{}", issuer=ISSUER)
        ledger.add(session, statement(1), issuer=ISSUER)
    assert drain_outbox.drain(bridge) == 2
    assert [each.attachments for each in sent] == [(Attached(written(sha2), "text/plain", b"proof"),), ()]
    assert [each.payload for each in sent] == [payload, statement(1)]


def test_what_is_attached_counts_for_the_size_of_a_request(
    bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connectors.lrs import Lrs as Connector

    posts: list[int] = []
    monkeypatch.setattr(Connector, "send", lambda self, statements: posts.append(len(statements)))
    connect(bridge, lrs)
    entries = []
    for number in range(3):
        content = bytes([number]) * 400_000
        kind = {"usageType": "https://u.test", "display": {"en": "Proof"}, "contentType": "text/plain"}
        said = {**kind, "length": len(content), "sha2": hashlib.sha256(content).hexdigest()}
        payload = statement(number, attachments=[said])
        entries.append(ledger.Entry(payload, json.loads(payload), (Attached(said["sha2"], "text/plain", content),)))
    with bridge.db.write() as session:
        ledger.add_received(session, entries, authority="{}", issuer=ISSUER)
    assert drain_outbox.drain(bridge) == 3
    assert posts == [2, 1]
