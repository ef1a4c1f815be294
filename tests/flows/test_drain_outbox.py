"""The outbox against an LRS that answers as it is told to: nothing lost, nothing doubled, nobody stuck."""

from __future__ import annotations

import collections
import datetime as dt
import email.utils
import hashlib
import json
import subprocess
import sys
import textwrap
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import delete, func, select, update

from bridge.connect import Attached, Http, Statement
from bridge.flows import drain_outbox
from bridge.flows.drain_outbox import lease, turn
from bridge.flows.drain_outbox.limits import PROBE, Limits
from bridge.flows.errors import NotFound
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.tables import Connection, Destination, Outbox, OutboxLease, StatementReceipt
from bridge.xapi import ledger

ISSUER = "http://bridge.test"
#: An answer: status, headers, body. None: the connection is cut.
Answer = tuple[int, dict[str, str], str]
Script = Callable[["Lrs", list[str]], Answer | None]


class Lrs:
    """An LRS on a port of its own. ``script`` answers the next requests; after it, it behaves, but for ``poison``."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.posts: list[list[str]] = []
        self.changed: list[str] = []
        self.script: collections.deque[Script] = collections.deque()
        self.poison: set[str] = set()
        self.most_bytes, self.too_large = 10_000_000, 413
        self.refuses_known = False
        self.connections = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/xapi"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def store(self, statements: list[Any], raw: str) -> None:
        for statement in statements:
            known = self.stored.setdefault(statement["id"], json.dumps(statement))
            if known != json.dumps(statement):
                self.changed.append(statement["id"])

    def answer(self, raw: str) -> Answer | None:
        statements = json.loads(raw)
        ids = [statement["id"] for statement in statements]
        with self._lock:
            self.posts.append(ids)
            scripted = self.script.popleft() if self.script else None
        if scripted is not None:
            answer = scripted(self, ids)
            if answer is not None and answer[0] != 0:
                return answer
            if answer is None:
                self.store(statements, raw)
                return None
        with self._lock:
            if len(raw) > self.most_bytes:
                return self.too_large, {}, "no"
            if self.poison & set(ids):
                return 400, {}, "the actor of one statement is made of glass"
            if self.refuses_known and set(ids) & self.stored.keys():
                return 409, {}, "a statement with that id exists"
            self.store(statements, raw)
        return 200, {}, json.dumps(ids)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        lrs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                lrs.connections += 1
                super().setup()

            def do_POST(self) -> None:
                answer = lrs.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())
                if answer is None:
                    self.close_connection = True
                else:
                    self._reply(*answer)

            def do_GET(self) -> None:
                [statement_id] = parse_qs(urlsplit(self.path).query)["statementId"]
                known = lrs.stored.get(statement_id)
                self._reply(200 if known else 404, {}, known or "")

            def _reply(self, status: int, headers: dict[str, str], body: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


def says(status: int, body: str = "", **headers: str) -> Script:
    return lambda lrs, ids: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


BEHAVES: Script = lambda lrs, ids: (0, {}, "")  # noqa: E731


def cut_after_storing(lrs: Lrs, ids: list[str]) -> None:
    """The LRS takes the batch, and its answer never arrives."""


@pytest.fixture
def lrs() -> Iterator[Lrs]:
    made = Lrs()
    yield made
    made.close()


@pytest.fixture(params=["runtime", pytest.param("pg_runtime", marks=pytest.mark.postgres)])
def bridge(request: pytest.FixtureRequest) -> Runtime:
    made: Runtime = request.getfixturevalue(request.param)
    return made


def connect(bridge: Runtime, lrs: Lrs, name: str = "lrs", **statements: Any) -> None:
    config = {"endpoint": lrs.endpoint, "key": "k", "secret": bridge.vault.seal("opensesame")}
    options = {"statements": statements} if statements else {}
    with bridge.db.write() as session:
        session.add(Connection(name=name, connector="lrs", config=config, options=options))


def statement(number: int, **more: Any) -> bytes:
    parts = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "actor": {"account": {"homePage": ISSUER, "name": f"E{number}"}},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/launched"},
        "object": {"id": "https://lms.test/course/1"},
        "timestamp": "2026-03-04T05:06:07.890Z",
    }
    return json.dumps({**parts, **more}).encode()


def ids_of(numbers: range) -> list[str]:
    return [json.loads(statement(number))["id"] for number in numbers]


def fill(bridge: Runtime, count: int, **more: Any) -> list[str]:
    with bridge.db.write() as session:
        for number in range(count):
            ledger.add(session, statement(number, **more), issuer=ISSUER)
    return ids_of(range(count))


def connection(bridge: Runtime, name: str = "lrs") -> Connection:
    with bridge.db.read() as session:
        return session.scalars(select(Connection).where(Connection.name == name)).one()


def waiting(bridge: Runtime) -> int:
    with bridge.db.read() as session:
        return session.scalar(select(func.count()).select_from(Outbox)) or 0


def receipts(bridge: Runtime, state: str) -> dict[str, str | None]:
    with bridge.db.read() as session:
        rows = session.execute(
            select(tables.Statement.id, StatementReceipt.error)
            .join(StatementReceipt, StatementReceipt.statement_seq == tables.Statement.seq)
            .where(StatementReceipt.state == state)
        )
        return {str(statement_id): error for statement_id, error in rows}


def let_time_pass(bridge: Runtime) -> None:
    """Pauses and leases are over."""
    with bridge.db.write() as session:
        session.execute(update(Connection).values(paused_until=None))
        session.execute(update(OutboxLease).values(until=now() - dt.timedelta(seconds=1)))


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


def test_unavailable_pauses_the_destination_and_keeps_everything_in_order(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 150)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 0
    paused = connection(bridge)
    assert paused.paused_until is not None
    assert dt.timedelta(0) < paused.paused_until - now() <= dt.timedelta(seconds=2)
    assert (paused.failures, paused.problem, waiting(bridge)) == (1, None, 150)
    assert drain_outbox.drain(bridge) == 0
    assert len(lrs.posts) == 1  # nothing is sent while it is paused

    with bridge.db.write() as session:
        session.execute(update(Connection).values(paused_until=now() - dt.timedelta(seconds=1)))
    assert drain_outbox.drain(bridge) == 150
    assert [of for post in lrs.posts[1:] for of in post] == sent  # each row had kept its place
    assert connection(bridge).failures == 0


def test_each_failure_in_a_row_makes_the_pause_longer_up_to_a_cap(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    for failures in range(1, 13):
        lrs.script.append(says(503))
        drain_outbox.drain(runtime)
        paused = connection(runtime)
        assert paused.paused_until is not None
        assert paused.failures == failures
        assert paused.paused_until - now() <= dt.timedelta(seconds=min(2**failures, 900))
        let_time_pass(runtime)
    assert drain_outbox.drain(runtime) == 1  # no number of failures makes a statement go away


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_too_many_requests_waits_as_long_as_it_is_told(form: str, runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 3)
    at = email.utils.format_datetime(now() + dt.timedelta(seconds=240), usegmt=True)
    lrs.script.append(says(429, Retry_After="240" if form == "seconds" else at))
    assert drain_outbox.drain(runtime) == 0
    until = connection(runtime).paused_until
    assert until is not None
    assert dt.timedelta(seconds=230) < until - now() <= dt.timedelta(seconds=240)


def test_a_short_pause_never_cuts_a_long_one(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    later = now() + dt.timedelta(hours=1)

    def told_another_worker_to_wait(lrs: Lrs, ids: list[str]) -> Answer:
        with runtime.db.write() as session:
            session.execute(update(Connection).values(paused_until=later))
        return 503, {}, ""

    lrs.script.append(told_another_worker_to_wait)
    drain_outbox.drain(runtime)
    assert connection(runtime).paused_until == later


def test_an_answer_that_never_comes_is_sent_again_and_doubles_nothing(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 20)
    lrs.script.append(cut_after_storing)
    assert drain_outbox.drain(bridge) == 0
    assert (len(lrs.stored), waiting(bridge)) == (20, 20)
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 20
    assert lrs.posts == [sent, sent[:PROBE], sent[PROBE:]]
    assert (len(lrs.stored), lrs.changed) == (20, [])


def test_a_timeout_after_accepting_is_an_unknown_outcome(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, over = Http.__init__, threading.Event()
    monkeypatch.setattr(Http, "__init__", lambda *a, **k: patient(*a, **{**k, "timeout": (1.0, 0.2)}))
    connect(runtime, lrs)
    fill(runtime, 5)

    def dawdle(lrs: Lrs, ids: list[str]) -> None:
        over.wait(30)

    lrs.script.append(dawdle)
    assert drain_outbox.drain(runtime) == 0
    assert (connection(runtime).failures, waiting(runtime)) == (1, 5)
    over.set()
    let_time_pass(runtime)
    assert drain_outbox.drain(runtime) == 5
    assert (len(lrs.stored), lrs.changed) == (5, [])


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


@pytest.mark.parametrize(("status", "words"), [(401, "credentials"), (404, "endpoint"), (302, "moved")])
def test_what_only_an_admin_can_mend_stops_the_destination_and_loses_nothing(
    status: int, words: str, runtime: Runtime, lrs: Lrs
) -> None:
    connect(runtime, lrs)
    fill(runtime, 5)
    lrs.script.append(says(status, Location="/login"))
    assert drain_outbox.drain(runtime) == 0
    problem = connection(runtime).problem
    assert problem is not None
    assert (words in problem, waiting(runtime)) == (True, 5)
    assert drain_outbox.drain(runtime) == 0
    assert len(lrs.posts) == 1
    with runtime.db.write() as session:
        session.execute(update(Connection).values(problem=None))
    assert drain_outbox.drain(runtime) == 5


def test_a_secret_that_is_missing_is_a_problem_and_is_read_again(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(runtime, lrs)
    with runtime.db.write() as session:
        config = {"endpoint": lrs.endpoint, "key": "k", "secret": "env:LRS_SECRET_OF_THE_TEST"}
        session.execute(update(Connection).values(config=config))
    fill(runtime, 5)
    assert drain_outbox.drain(runtime) == 0
    assert "LRS_SECRET_OF_THE_TEST" in str(connection(runtime).problem)
    monkeypatch.setenv("LRS_SECRET_OF_THE_TEST", "opensesame")
    with runtime.db.write() as session:
        session.execute(update(Connection).values(problem=None))
    assert drain_outbox.drain(runtime) == 5


def test_a_new_configuration_is_used_at_once(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    drain_outbox.drain(runtime)
    elsewhere = Lrs()
    with runtime.db.write() as session:
        config = {**connection(runtime).config, "endpoint": elsewhere.endpoint}
        session.execute(update(Connection).values(config=config))
    fill(runtime, 2)
    assert drain_outbox.drain(runtime) == 1
    elsewhere.close()
    assert list(elsewhere.stored) == ids_of(range(1, 2))


def test_one_destination_that_is_down_does_not_hold_up_another(bridge: Runtime, lrs: Lrs) -> None:
    up = Lrs()
    connect(bridge, lrs, "down")
    connect(bridge, up, "up")
    sent = fill(bridge, 120)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 120
    up.close()
    assert sorted(up.stored) == sorted(sent)
    assert (connection(bridge, "down").failures, connection(bridge, "up").failures, waiting(bridge)) == (1, 0, 120)


@pytest.mark.parametrize(
    "off", [{"enabled": False}, {"problem": "no"}, {"paused_until": dt.datetime(2999, 1, 1, tzinfo=dt.UTC)}]
)
def test_a_closed_destination_is_not_called(off: dict[str, Any], runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    with runtime.db.write() as session:
        session.execute(update(Connection).values(off))
    assert drain_outbox.drain(runtime) == 0
    assert (lrs.posts, waiting(runtime)) == ([], 1)


def test_two_drainers_never_send_the_same_statement(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 600)
    both = threading.Barrier(2)

    def together(lrs: Lrs, ids: list[str]) -> Answer:
        both.wait(20)  # fails unless both are under way at the same time
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([together, together])
    with ThreadPoolExecutor(2) as pool:
        settled = list(pool.map(lambda _: drain_outbox.drain(bridge), range(2)))
    assert sum(settled) == 600
    assert sorted(of for post in lrs.posts for of in post) == sorted(sent)
    assert receipts(bridge, "delivered").keys() == set(sent)


KILLED = """
    import os, sys
    from bridge.flows import drain_outbox
    from bridge.flows.runtime import Runtime
    from bridge.settings import Settings
    from connectors.lrs import Lrs

    home, url = sys.argv[1:]
    send = Lrs.send
    def send_and_die(self, statements):
        send(self, statements)
        os._exit(9)
    Lrs.send = send_and_die
    drain_outbox.drain(Runtime.start(Settings.load(home=home, database_url=url)))
"""


def test_a_worker_killed_between_sending_and_settling_loses_and_doubles_nothing(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 130)
    settings = bridge.settings
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(settings.home), settings.database]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    assert (len(lrs.stored), waiting(bridge), receipts(bridge, "delivered")) == (100, 130, {})
    assert drain_outbox.drain(bridge) == 30  # the dead one's rows are still under its lease
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 100
    assert sorted(lrs.posts[0]) == sorted(lrs.posts[2])
    assert (sorted(lrs.stored), lrs.changed) == (sorted(sent), [])
    assert receipts(bridge, "delivered").keys() == set(sent)


def test_who_lost_the_lease_may_not_set_aside_or_release(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 1)

    def taken_over(lrs: Lrs, ids: list[str]) -> Answer:
        let_time_pass(bridge)
        assert lease.Lease(bridge.db, connection(bridge).id).take(Limits(), 1).seqs
        return 400, {}, "never"

    lrs.script.append(taken_over)
    drain_outbox.drain(bridge)
    assert (receipts(bridge, "rejected"), waiting(bridge)) == ({}, 1)
    with bridge.db.read() as session:
        [theirs] = session.scalars(select(OutboxLease)).all()
    assert theirs.until > now()


def test_who_lost_the_lease_stops_before_the_next_request(
    bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LONGEST_REQUEST", lease.LEASE_SECONDS)  # renew before every request
    connect(bridge, lrs)
    sent = fill(bridge, 2)

    def taken_over(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            session.execute(update(OutboxLease).values(token="somebody else"))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([says(400), taken_over])
    assert drain_outbox.drain(bridge) == 1
    assert lrs.posts == [sent, sent[:1]]
    assert receipts(bridge, "delivered").keys() == {sent[0]}  # that one it has, whoever holds the row
    assert waiting(bridge) == 1


def test_a_lease_is_renewed_before_each_request(bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LONGEST_REQUEST", lease.LEASE_SECONDS)
    connect(bridge, lrs)
    fill(bridge, 2)
    soon, seen = now() + dt.timedelta(seconds=5), []

    def nearly_over(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            seen.append(session.scalar(select(OutboxLease.until)))
            session.execute(update(OutboxLease).values(until=soon))
        return (400, {}, "no") if len(ids) == 2 else BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.extend([nearly_over] * 3)
    assert drain_outbox.drain(bridge) == 2
    assert len(seen) == 3
    assert all(until > soon + dt.timedelta(seconds=30) for until in seen)


def test_a_row_that_is_committed_late_waits_for_the_range_around_it(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 3)
    with bridge.db.write() as session:
        late = sorted(session.scalars(select(Outbox.statement_seq)))[1]
        session.execute(delete(Outbox).where(Outbox.statement_seq == late))
    others: list[int] = []

    def committed(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            session.add(Outbox(connection_id=connection(bridge).id, statement_seq=late))
        others.append(drain_outbox.drain(bridge))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(committed)
    assert drain_outbox.drain(bridge) == 3
    assert others == [0]
    assert lrs.posts == [[sent[0], sent[2]], [sent[1]]]


def test_a_delivery_counts_although_somebody_else_gave_it_up_meanwhile(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    [sent] = fill(bridge, 1)

    def given_up(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            row = session.scalars(select(Outbox)).one()
            receipt = {"statement_seq": row.statement_seq, "connection_id": row.connection_id}
            session.add(StatementReceipt(**receipt, state="rejected", error="no"))
            session.execute(delete(Outbox))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(given_up)
    drain_outbox.drain(bridge)
    assert receipts(bridge, "rejected") == {}
    assert receipts(bridge, "delivered") == {sent: None}


@pytest.mark.postgres
def test_noting_a_delivery_waits_for_nobody_who_holds_the_destination(pg_runtime: Runtime, lrs: Lrs) -> None:
    """Else two of them could wait for each other: who refuses holds the destination, and needs a row."""
    connect(pg_runtime, lrs)
    [sent] = fill(pg_runtime, 1)
    worker = lease.Lease(pg_runtime.db, connection(pg_runtime).id)
    seqs = worker.take(Limits(), 1).seqs
    with ThreadPoolExecutor(1) as pool:
        with pg_runtime.db.write() as session:
            session.execute(select(Destination).with_for_update())
            ended = pool.submit(worker.end, seqs)
            deadline = time.monotonic() + 20
            while not receipts(pg_runtime, "delivered") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert receipts(pg_runtime, "delivered").keys() == {sent}
        ended.result(20)
    assert waiting(pg_runtime) == 0


def test_a_call_ends_in_time_and_leaves_the_rest_due(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 1000.0}
    for module in (drain_outbox, turn):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: clock["now"]))
    connect(runtime, lrs)
    fill(runtime, 8, result={"response": "x" * 300_000})

    def slowly(lrs: Lrs, ids: list[str]) -> Answer:
        clock["now"] += drain_outbox.CALL_SECONDS + 1
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(slowly)
    assert drain_outbox.drain(runtime) == 3
    assert (len(lrs.posts), waiting(runtime)) == (1, 5)
    assert drain_outbox.drain(runtime) == 5


def test_a_defect_of_a_connector_pauses_it_and_the_others_go_on(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connectors.lrs import Lrs as Connector

    send = Connector.send

    def broken(self: Connector, statements: Sequence[Statement]) -> None:
        if self.config.key == "broken":
            raise KeyError("a defect")
        send(self, statements)

    monkeypatch.setattr(Connector, "send", broken)
    connect(runtime, lrs, "a")
    connect(runtime, lrs, "b")
    with runtime.db.write() as session:
        config = {**connection(runtime, "a").config, "key": "broken"}
        session.execute(update(Connection).where(Connection.name == "a").values(config=config))
    fill(runtime, 3)
    assert drain_outbox.drain(runtime) == 3
    assert (connection(runtime, "a").failures, connection(runtime, "b").failures, waiting(runtime)) == (1, 0, 3)


def destination(bridge: Runtime) -> Destination:
    with bridge.db.read() as session:
        return session.scalars(select(Destination)).one()


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


def test_after_a_pause_one_worker_tries_with_a_few_and_the_others_wait_for_it(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 150)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 0
    let_time_pass(bridge)
    others: list[int] = []

    def meanwhile(lrs: Lrs, ids: list[str]) -> Answer:
        others.append(drain_outbox.drain(bridge))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(meanwhile)
    assert drain_outbox.drain(bridge) == 150
    assert others == [0]
    assert [len(post) for post in lrs.posts] == [100, PROBE, 100, 150 - 100 - PROBE]
    assert (connection(bridge).failures, connection(bridge).paused_until) == (0, None)


def test_a_probe_that_fails_makes_the_pause_longer(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 150)
    lrs.script.extend([says(503), says(429, Retry_After="77")])
    drain_outbox.drain(bridge)
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 0
    paused = connection(bridge)
    assert paused.paused_until is not None
    assert paused.failures == 2
    assert dt.timedelta(seconds=70) < paused.paused_until - now() <= dt.timedelta(seconds=77)


def test_a_refusal_shows_that_a_destination_answers_again(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    lrs.poison = set(fill(bridge, 10)[:1])
    lrs.script.extend([says(503), BEHAVES, says(503)])  # the second 503 comes while the poisoned one is looked for
    drain_outbox.drain(bridge)
    let_time_pass(bridge)
    drain_outbox.drain(bridge)
    assert (len(lrs.posts), connection(bridge).failures) == (3, 1)


def test_workers_who_fail_side_by_side_count_as_one_failure(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 300)
    both = threading.Barrier(2)

    def together(lrs: Lrs, ids: list[str]) -> Answer:
        both.wait(20)
        return 503, {"Retry-After": "60"}, ""

    lrs.script.extend([together, together])
    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(lambda _: drain_outbox.drain(bridge), range(2))) == 0
    assert (connection(bridge).failures, waiting(bridge)) == (1, 300)


def test_two_workers_share_the_budget_of_a_destination(
    bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [now()]
    monkeypatch.setattr(lease, "now", lambda: clock[0])
    connect(bridge, lrs, rate=5)
    fill(bridge, 40)
    other = Runtime.start(bridge.settings)

    def both() -> tuple[int, int]:
        return drain_outbox.drain(bridge), drain_outbox.drain(other)

    assert both() == (10, 0)  # two seconds' worth at once, and not a statement more
    clock[0] += dt.timedelta(seconds=0.5)
    assert both() == (2, 0)
    clock[0] += dt.timedelta(seconds=0.5)
    assert (drain_outbox.drain(other), drain_outbox.drain(bridge)) == (3, 0)
    clock[0] += dt.timedelta(hours=1)  # what was not used is not kept
    assert both() == (10, 0)
    assert waiting(bridge) == 15
    other.db.close()


def test_a_full_batch_calls_for_help(runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(runtime, "nudge", called.append)
    connect(runtime, lrs, batch=7)
    fill(runtime, 20)
    assert drain_outbox.drain(runtime) == 20
    assert called == ["drain"]
    fill(runtime, 24)
    assert drain_outbox.drain(runtime) == 4
    assert called == ["drain"]


def test_what_a_destination_must_not_get_is_set_aside_and_the_rest_goes_out(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs, identity="mbox")
    sent = fill(bridge, 3)
    with bridge.db.write() as session:
        session.add(tables.Person(key="E1", name="Sam", email="sam@example.com"))
    assert drain_outbox.drain(bridge) == 3
    assert list(lrs.stored) == [sent[1]]
    assert json.loads(lrs.stored[sent[1]])["actor"] == {"mbox": "mailto:sam@example.com"}
    assert "e-mail address" in str(receipts(bridge, "rejected")[sent[0]])


def test_options_that_can_not_be_are_a_problem_and_lose_nothing(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 2)
    with runtime.db.write() as session:
        session.execute(update(Connection).values(options={"statements": {"batch": 0}}))
    assert drain_outbox.drain(runtime) == 0
    assert "options.statements.batch" in str(connection(runtime).problem)
    assert (lrs.posts, waiting(runtime)) == ([], 2)


def test_attachments_travel_with_their_statement(bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch) -> None:
    from connectors.lrs import Lrs as Connector

    sent: list[Statement] = []
    monkeypatch.setattr(Connector, "send", lambda self, statements: sent.extend(statements))
    connect(bridge, lrs)
    sha2 = hashlib.sha256(b"proof").hexdigest()
    kind = {"usageType": "https://u.test", "display": {"en": "Proof"}, "contentType": "text/plain", "length": 5}
    payload = statement(0, attachments=[{**kind, "sha2": sha2}])
    entry = ledger.Entry(payload, json.loads(payload), (Attached(sha2, "text/plain", b"proof"),))
    with bridge.db.write() as session:
        ledger.add_received(session, [entry], authority="{}", issuer=ISSUER)
        ledger.add(session, statement(1), issuer=ISSUER)
    assert drain_outbox.drain(bridge) == 2
    assert [each.attachments for each in sent] == [(Attached(sha2, "text/plain", b"proof"),), ()]
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
