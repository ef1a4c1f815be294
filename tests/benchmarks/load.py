"""A light load generator: prepared requests over kept connections, with so little work of its own that it can wait."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

#: What a browser sends along; the same for everything that is measured.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n"
)
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Refused(Exception):
    """The server did not answer what it was asked for."""


def request(method: str, path: str, host: str, *, headers: str = "", body: str = "") -> bytes:
    """A whole HTTP/1.1 request; ``headers`` are lines that end in CRLF."""
    length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{BROWSER}{headers}{length}\r\n{body}".encode()


class Wire(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, host: str) -> Self:
        name, _, port = host.partition(":")
        _, wire = await asyncio.get_running_loop().create_connection(cls, name, int(port))
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            self._needed = end + 4 + (int(length[1]) if length else 0)
        if self._needed and len(self._buffer) >= self._needed and self._answer is not None:
            answer, self._answer = self._answer, None
            answer.set_result(bytes(self._buffer))
            self._buffer.clear()
            self._needed = 0

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._answer.set_exception(error or Refused("the server closed the connection"))

    def ask(self, sent: bytes) -> Awaitable[bytes]:
        """The answer, headers and body."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(sent)
        return self._answer


#: One unit of work over a connection, such as a whole launch; the number says which of its user's it is.
Work = Callable[[Wire, int], Awaitable[object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: how many units a second, how long they took, and what the generator itself used."""

    per_second: float
    units: int
    p50_ms: float
    p99_ms: float
    own_cpu: float


def drive(host: str, work: Work, *, connections: int, seconds: float) -> Load:
    """Do ``work`` over and over on so many connections at once, each waiting for its answers."""
    return asyncio.run(_drive(host, work, connections, seconds))


async def _drive(host: str, work: Work, connections: int, seconds: float) -> Load:
    wires = [await Wire.open(host) for _ in range(connections)]
    taken: list[float] = []
    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_keep(wire, work, begin + seconds, taken, number) for number, wire in enumerate(wires)))
    whole, own = time.perf_counter() - begin, time.process_time() - cpu
    for wire in wires:
        wire.transport.close()
    return Load(len(taken) / whole, len(taken), percentile(taken, 0.5), percentile(taken, 0.99), own / whole)


async def _keep(wire: Wire, work: Work, until: float, taken: list[float], number: int) -> None:
    while (at := time.perf_counter()) < until:
        await work(wire, number)
        taken.append(time.perf_counter() - at)


def percentile(taken: Sequence[float], share: float) -> float:
    """The time within which this share of the measured ones were, in milliseconds, of seconds."""
    return round(sorted(taken)[min(len(taken) - 1, int(len(taken) * share))] * 1000, 2)
