"""Redis and RabbitMQ: nudges by message, and life without the broker."""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from kombu.connection import Connection

import workers.app
from tests.ports import free_port
from tests.workers.conftest import Bridge, until
from workers.nudge import publisher

BROKERS = {
    "redis": ("redis://127.0.0.1:{port}/9", 6379),
    "rabbitmq": ("amqp://guest:guest@127.0.0.1:{port}//", 5672),
}


class Wire:
    """A TCP connection to the broker that can be cut: to the bridge, that is a broker that is down."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        assert self._listener is not None
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in BROKERS])
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[Wire, str]]:
    """A wire to a real broker, and the URL at this end of it."""
    url, port = BROKERS[request.param]
    made = Wire(port)
    yield made, url.format(port=made.port)
    made.cut()


@pytest.fixture
def queues(wire: tuple[Wire, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Queues of the test's own; says how many messages wait in one."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(workers.app, "PREFIX", prefix)
    _, url = wire
    direct = next(real.format(port=port) for real, port in BROKERS.values() if url.startswith(real[:4]))

    def waiting(kind: str) -> int:
        with Connection(direct) as connection, connection.channel() as channel:  # type: ignore[no-untyped-call]
            try:
                return int(channel.queue_declare(f"{prefix}.{kind}", passive=True).message_count)
            except connection.channel_errors:
                return 0

    yield waiting
    with Connection(direct) as connection:  # type: ignore[no-untyped-call]
        for kind in workers.app.KINDS:
            with contextlib.suppress(*connection.channel_errors), connection.channel() as channel:
                channel.queue_delete(f"{prefix}.{kind}")
        if direct.startswith("redis"):
            redis = connection.default_channel.client
            redis.delete("", *redis.keys(f"*{prefix}*"))
            for tag, message in redis.hgetall("unacked").items():
                if prefix.encode() in message:  # it was under way when the wire was cut
                    redis.hdel("unacked", tag)
                    redis.zrem("unacked_index", tag)
        else:
            connection.default_channel.exchange_delete(prefix)


@pytest.fixture
def brokered(
    wire: tuple[Wire, str], queues: Callable[[str], int], make_bridge: Callable[..., Bridge]
) -> Iterator[Bridge]:
    made = make_bridge(BROKER_URL=wire[1])
    made.env["STAND_IN_QUEUES"] = workers.app.PREFIX
    made.prepare()
    yield made
    for process in made.processes:
        assert process.end() in (0, -signal.SIGTERM)  # so that they give back what they hold


def test_a_nudge_of_web_reaches_the_worker(brokered: Bridge, record_property: Callable[[str, object], None]) -> None:
    brokered.run("worker").says("The worker is ready")  # no beat: only nudges can do it
    brokered.run("web")
    until(brokered.ready, seconds=60, what="web")
    taken = []
    for _ in range(40):
        event = uuid.UUID(brokered.get("/event")["id"])
        taken.append(1000 * brokered.decided(event))
    p50, p95 = statistics.median(taken), sorted(taken)[37]
    record_property("nudge to decision, p50/p95 ms", (p50, p95))
    print(f"{brokered.env['FLOWBRIDGE_BROKER_URL'][:5]} p50 {p50:.0f} ms p95 {p95:.0f} ms")
    assert p50 < 400, "the commit wakes the worker: the beat alone, once a second, would take 500 ms in the middle"


def test_without_the_broker_nothing_waits_and_nothing_is_lost(
    brokered: Bridge, wire: tuple[Wire, str], record_property: Callable[[str, object], None]
) -> None:
    worker = brokered.run("worker", "--beat")
    worker.says("The worker is ready")
    web = brokered.run("web")
    until(brokered.ready, seconds=60, what="web")
    brokered.decided(uuid.UUID(brokered.get("/event")["id"]))
    wire[0].cut()
    answers = [brokered.get("/event") for _ in range(20)]
    slowest = max(answer["nudge_seconds"] for answer in answers)
    record_property("slowest nudge without the broker, ms", 1000 * slowest)
    print(f"slowest nudge without the broker {1000 * slowest:.1f} ms")
    assert slowest < 0.05
    web.says("can't be reached")
    assert "guest:guest" not in "".join(web.err + worker.err)
    assert sum("can't be reached" in line for line in web.err) == 1
    wire[0].mend()
    mended = time.monotonic()
    for answer in answers:
        brokered.decided(uuid.UUID(answer["id"]), seconds=40)
    print(f"done {time.monotonic() - mended:.1f} s after the broker came back")
    taken = [brokered.decided(uuid.UUID(brokered.get("/event")["id"])) for _ in range(10)]
    assert statistics.median(taken) < 0.4, "nudges reach the worker again"


def test_a_worker_asks_for_its_broker_every_few_seconds(brokered: Bridge, wire: tuple[Wire, str]) -> None:
    brokered.run("worker").says("The worker is ready")
    wire[0].cut()
    with socket.create_server(("127.0.0.1", wire[0].port)) as deaf:
        deaf.settimeout(7)  # Celery's own pauses are longer than this from the fourth on
        for _ in range(8):
            deaf.accept()[0].close()
    wire[0].mend()
    event = brokered.add_event()
    publisher(brokered.settings())("decide")
    brokered.decided(event, seconds=20)


def test_a_beat_of_its_own_ticks_by_message(brokered: Bridge) -> None:
    brokered.run("worker").says("The worker is ready")
    late = brokered.add_event()
    brokered.run("beat")
    brokered.decided(late, seconds=15)
    for kind in ("poll", "sync", "members", "housekeeping"):
        until(functools.partial(brokered.calls, kind), seconds=5, what=f"the first {kind}")


def test_many_nudges_become_few_messages(brokered: Bridge, queues: Callable[[str], int]) -> None:
    nudge = publisher(brokered.settings())
    nudge("decide")
    until(lambda: queues("decide") == 1, seconds=5, what="the first one at once")
    begun, calls = time.monotonic(), 0
    while time.monotonic() < begun + 0.3:
        nudge("decide")
        calls += 1
    until(lambda: queues("decide") >= 2, seconds=5, what="one for the later ones")
    assert calls > 1000
    assert queues("decide") <= 15
    nudge("drain")  # sent last: then nothing is under way any more
    until(lambda: queues("drain"), seconds=5, what="the last one")


def test_nothing_but_the_four_queues_can_be_nudged(brokered: Bridge, bridge: Bridge) -> None:
    for nudge in (publisher(brokered.settings()), publisher(bridge.settings())):
        with pytest.raises(ValueError, match="'delivery'"):
            nudge("delivery")
