"""An installation whose outbox is filled and drained: by real workers, over a real broker, into a given LRS."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, text, update

import workers.app
from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import now, tables
from tests.benchmarks.forward.content import statement
from tests.benchmarks.machine import cpu_seconds
from workers.nudge import publisher

ROOT = Path(__file__).parents[3]
#: Nothing that is measured here takes longer.
PATIENCE = 600.0
_CHUNK = 10_000
#: Looked for from the end, where no rows are that were deleted: to look must cost nothing.
_LAST = (
    select(tables.Outbox.statement_seq)
    .order_by(tables.Outbox.connection_id.desc(), tables.Outbox.statement_seq.desc())
    .limit(1)
)
_BACKENDS = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")


@dataclasses.dataclass(frozen=True, slots=True)
class Drained:
    """Statements per second from their commit to the last receipt; processor time of each, in microseconds."""

    per_second: float
    cpu: Mapping[str, float]


@contextlib.contextmanager
def process(*argv: str, env: Mapping[str, str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of ours, on any core, and its end."""
    inherited = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "PYTHONPATH": str(ROOT)}
    with log.open("ab") as output:
        given = {"cwd": log.parent, "env": {**inherited, **env}, "stderr": output, "stdout": output, **more}
        started = subprocess.Popen([sys.executable, *argv], **given)
        try:
            yield started
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(10)
            started.kill()
            started.wait()


class Installation:
    """A bridge with one LRS; an empty ``broker`` is the embedded one."""

    def __init__(self, folder: Path, *, database_url: str = "", broker: str = "", sink: int | None = None) -> None:
        self.folder, self._sink = folder, sink
        self._prefix = f"forward-{uuid.uuid4().hex[:8]}"
        given = {"home": str(folder / "home"), "database_url": database_url, "log_level": "ERROR"}
        if broker:
            given["broker_url"] = broker
        self._env = {f"FLOWBRIDGE_{name.upper()}": value for name, value in given.items()}
        self.runtime = Runtime.start(Settings.load(**given))
        setup.prepare(self.runtime)
        self._run = 0
        self._nudge = publisher(self.runtime.settings)

    def connect(self, endpoint: str, batch: int = 100) -> None:
        """Send to this LRS from now on, so many at once."""
        with self.runtime.db.write() as session:
            secret = self.runtime.vault.seal("benchmark")
            config = {"endpoint": endpoint, "key": "benchmark", "secret": secret}
            values = {"config": config, "options": {"statements": {"batch": batch, "batch_bytes": 5_000_000}}}
            if session.scalar(select(tables.Connection.id)) is None:
                session.add(tables.Connection(name="lrs", connector="lrs", **values))
            else:
                session.execute(update(tables.Connection).values(values))

    @contextlib.contextmanager
    def workers(self, count: int) -> Iterator[list[int]]:
        """So many worker processes, which have drained something already; yields their ids."""
        with contextlib.ExitStack() as stack:
            arguments = ("-m", "tests.benchmarks.forward.worker", self._prefix)
            started = [
                stack.enter_context(process(*arguments, env=self._env, log=self.folder / f"worker-{place}.log"))
                for place in range(count)
            ]
            yield [worker.pid for worker in started]

    def drained(self, count: int, pids: list[int]) -> Drained:
        """Commit so many statements, and wait for the last receipt."""
        begin = self._commit(count)
        before = self._cpu(pids)
        self._call()
        deadline = begin + PATIENCE
        while self._waits():
            if time.perf_counter() > deadline:
                raise RuntimeError(f"statements are still waiting; the logs are in {self.folder}")
            time.sleep(0.01)
        whole = time.perf_counter() - begin
        after = self._cpu(pids)
        self._check()
        return Drained(count / whole, {name: (after[name] - before[name]) / count * 1e6 for name in before})

    def _call(self) -> None:
        before, workers.app.PREFIX = workers.app.PREFIX, self._prefix
        try:
            self._nudge("drain")
        finally:
            workers.app.PREFIX = before

    def _commit(self, count: int) -> float:
        """Write the facts in one transaction; returns when they were committed."""
        self._run += 1
        with self.runtime.db.write() as session:
            session.execute(delete(tables.StatementReceipt))
            session.execute(delete(tables.Statement))
            db = session.connection()
            for first in range(0, count, _CHUNK):
                rows = [_row(number, self._run) for number in range(first, min(count, first + _CHUNK))]
                db.execute(insert(tables.Statement), rows)
            to = select(tables.Connection.id).scalar_subquery()
            rows = select(to, tables.Statement.seq).order_by(tables.Statement.seq)
            db.execute(insert(tables.Outbox).from_select(["connection_id", "statement_seq"], rows))
        return time.perf_counter()

    def _waits(self) -> bool:
        with self.runtime.db.look() as db:
            return db.scalar(_LAST) is not None

    def _check(self) -> None:
        receipt = tables.StatementReceipt
        with self.runtime.db.look() as db:
            short = (
                select(func.count())
                .select_from(tables.Statement)
                .where(~exists().where(receipt.statement_seq == tables.Statement.seq, receipt.state == "delivered"))
            )
            if missing := db.scalar(short):
                raise RuntimeError(f"{missing} statements have no receipt")

    def _cpu(self, pids: list[int]) -> dict[str, float]:
        used = {"worker": sum(map(cpu_seconds, pids))}
        if self._sink is not None:
            used["sink"] = cpu_seconds(self._sink)
        if not self.runtime.db.is_sqlite:
            with self.runtime.db.look() as db:
                used["postgresql"] = sum(cpu_seconds(pid) for pid in db.scalars(_BACKENDS))
        return used


def _row(number: int, run: int) -> dict[str, Any]:
    made, payload = statement(number, run)
    return {
        "id": made,
        "payload": payload,
        "stored": now(),
        "timestamp": dt.datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=dt.UTC),
        "version": "1.0.0",
        "actor": f'{{"account":{{"homePage":"https://hr.example.com","name":"E{number:06}"}}}}',
        "verb": "http://adlnet.gov/expapi/verbs/completed",
        "object_id": "https://bridge.example.com/assets/negotiating-a-renewal",
        "authority": "{}",
    }
