"""What the pipeline is measured beside: the sink's own limit, and one task and one request per statement."""

from __future__ import annotations

import dataclasses
import subprocess
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import requests
from kombu import Connection

from tests.benchmarks.forward.content import statement
from tests.benchmarks.forward.pipeline import PATIENCE, process
from tests.benchmarks.forward.relative import app, send
from tests.benchmarks.machine import cpu_seconds
from tests.ports import free_port

START_SECONDS = 30.0


class Sink:
    """The strict LRS of ``sink.py`` in a process of its own."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        port = free_port()
        arguments = ("-m", "tests.benchmarks.forward.sink", str(port))
        self.pid = stack.enter_context(process(*arguments, env={}, log=folder / "sink.log")).pid
        self.url = f"http://127.0.0.1:{port}"
        self.endpoint = f"{self.url}/xapi"
        self._http = requests.Session()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("the sink does not answer")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/count", timeout=5).ok
        except requests.ConnectionError:
            return False

    def count(self) -> int:
        return int(self._http.get(f"{self.url}/count", timeout=60).text)

    def forget(self) -> None:
        self._http.get(f"{self.url}/forget", timeout=60)


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Statements per second, and the sender's processor time for each, in microseconds."""

    per_second: float
    cpu: float


def bare(sink: Sink, folder: Path, *, batch: int, processes: int, seconds: float) -> Rate:
    """Ready bytes in a bare requests loop, by so many processes at once."""
    arguments = ("-m", "tests.benchmarks.forward.bare", sink.endpoint, str(batch), str(seconds))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        started = [
            stack.enter_context(process(*arguments, env={}, log=folder / "bare.log", **pipes)) for _ in range(processes)
        ]
        for each in started:
            assert each.stdin and each.stdout
            each.stdout.readline()
        for each in started:
            assert each.stdin
            each.stdin.write(b"go\n")
            each.stdin.flush()
        told = [tuple(map(float, each.communicate(timeout=PATIENCE)[0].split())) for each in started]
    return Rate(sum(rate for rate, _ in told), sum(cpu for _, cpu in told) / len(told))


def one_by_one(sink: Sink, folder: Path, *, broker: str, processes: int, count: int) -> Rate:
    """A Celery task and a request by tincan for each of so many statements, published before they are counted."""
    queue = f"relative-{uuid.uuid4().hex[:8]}"
    sink.forget()
    app.conf.update(broker_url=broker, task_default_queue=queue)
    try:
        with app.producer_pool.acquire(block=True) as producer:
            for number in range(count):
                send.apply_async((statement(number, 1)[1].decode(),), producer=producer)
        env = {"RELATIVE_QUEUE": queue, "RELATIVE_ENDPOINT": sink.endpoint, "RELATIVE_BROKER": broker}
        arguments = ("-m", "celery", "-A", "tests.benchmarks.forward.relative", "worker")
        pool = ("--pool", "prefork", "-c", str(processes), "-l", "ERROR", "--without-gossip", "--without-mingle")
        with process(*arguments, *pool, env=env, log=folder / "relative.log") as worker:
            return _timed(sink, worker.pid, count)
    finally:
        with Connection(broker) as connection:
            connection.default_channel.queue_delete(queue)


def _timed(sink: Sink, parent: int, count: int) -> Rate:
    first = _wait(sink, max(1, count // 10))
    begin, cpu = time.perf_counter(), _with_children(parent)
    last = _wait(sink, count)
    sent = max(1, last - first)
    return Rate(sent / (time.perf_counter() - begin), (_with_children(parent) - cpu) / sent * 1e6)


def _wait(sink: Sink, count: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while (there := sink.count()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {there} of {count} statements came")
        time.sleep(0.02)
    return there


def _with_children(parent: int) -> float:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(map(cpu_seconds, (parent, *map(int, children))))
