"""Statements on their way to an LRS that answers as it is told to."""

from __future__ import annotations

import base64
import collections
import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import func, select, update

from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.tables import Connection, Destination, Outbox, OutboxLease, StatementReceipt
from bridge.xapi import ledger
from tests.ports import free_port

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
        #: The one secret that it knows; None: any.
        self.secret: str | None = None
        self.connections = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._handler())
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
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                basic = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                known = lrs.secret is None or basic.endswith(f":{lrs.secret}")
                answer = lrs.answer(raw) if known else (401, {}, "")
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


def destination(bridge: Runtime) -> Destination:
    with bridge.db.read() as session:
        return session.scalars(select(Destination)).one()
