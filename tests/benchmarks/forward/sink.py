"""A fast strict LRS in memory: it parses every statement, keeps their ids, and refuses what it has otherwise.

``python -m tests.benchmarks.forward.sink PORT``. It answers POST and PUT of statements as xAPI 1.0.3 part three says in
section 2.1: a known id with the same content changes nothing, one with other content is a conflict of the request.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-experience-api-version: *1\.0", re.IGNORECASE)
_REQUIRED = ("id", "actor", "verb", "object")
_WORDS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 409: "Conflict"}


class Lrs:
    """The ids that are there, each with a hash of its statement."""

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}

    def answer(self, method: str, target: str, head: bytes, body: bytes) -> tuple[int, bytes]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if path == "/count":
            return 200, str(len(self.stored)).encode()
        if path == "/forget":
            self.stored.clear()
            return 200, b""
        if path != "/xapi/statements" or method not in ("POST", "PUT"):
            return 404, b""
        if not _VERSION.search(head):
            return 400, b"the version is missing"
        try:
            sent = orjson.loads(body)
        except ValueError as error:
            return 400, str(error).encode()
        statements = sent if isinstance(sent, list) else [sent]
        if method == "PUT":
            statements[0].setdefault("id", *query["statementId"])
        status, said = self._store(statements)
        return (204, b"") if method == "PUT" and status == 200 else (status, said)

    def _store(self, statements: list[Any]) -> tuple[int, bytes]:
        new = {}
        for statement in statements:
            if not all(name in statement for name in _REQUIRED):
                return 400, b"no statement"
            new[statement["id"]] = hash(orjson.dumps(statement))
        if len(new) != len(statements) or not new:
            return 400, b"an id comes twice, or none at all"
        for statement_id, content in new.items():
            if self.stored.get(statement_id, content) != content:
                return 409, statement_id.encode()
        self.stored.update(new)
        return 200, orjson.dumps(list(new))


class _Connection(asyncio.Protocol):
    def __init__(self, lrs: Lrs) -> None:
        self._lrs = lrs
        self._buffer = bytearray()
        self._body = self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            if not self._needed and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
                length = _LENGTH.search(self._buffer, 0, end)
                self._body = end + 4
                self._needed = self._body + (int(length[1]) if length else 0)
            if not self._needed or len(self._buffer) < self._needed:
                return
            head, body = bytes(self._buffer[: self._body]), bytes(self._buffer[self._body : self._needed])
            del self._buffer[: self._needed]
            self._needed = 0
            method, target, _ = head.split(b" ", 2)
            self._reply(*self._lrs.answer(method.decode(), target.decode(), head, body))

    def _reply(self, status: int, said: bytes) -> None:
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(said)
        kind = b"Content-Type: application/json\r\nX-Experience-API-Version: 1.0.3\r\n"
        self._transport.write(b"HTTP/1.1 %d %s\r\n%s%s\r\n" % (status, _WORDS[status].encode(), kind, length) + said)


async def _serve(port: int) -> None:
    lrs = Lrs()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(lrs), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
