"""Stand-ins for the flows: real claims on real rows, and a line in ``calls`` for each call."""

from __future__ import annotations

import dataclasses
import os
import threading
import time

from sqlalchemy import select, update

from bridge.flows.runtime import Runtime
from bridge.store import now, queue, tables

LEASE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class FirstStart:
    email: str
    password: str


def prepare(runtime: Runtime) -> FirstStart | None:
    runtime.settings.home.mkdir(parents=True, exist_ok=True)
    tables.Base.metadata.create_all(runtime.db.engine)
    with runtime.db.write() as session:
        if session.scalar(select(tables.Connection)) is not None:
            return None
        session.add(tables.Connection(name="shop", connector="webhook", config={}))
    return FirstStart("first@example.org", "once-and-never-again")


def decide(runtime: Runtime) -> int:
    with runtime.db.write() as session:
        _, rows = queue.claim(session, tables.Event, limit=20, lease_seconds=LEASE_SECONDS)
    for row in rows:
        if row.data.get("stall") and row.attempts == 1:
            (runtime.settings.home / "stalled").write_text(str(os.getpid()))
            threading.Event().wait(60)
    with runtime.db.write() as session:
        done = update(tables.Event).where(tables.Event.id.in_([row.id for row in rows]))
        session.execute(done.values(decided_at=now(), due_at=None))
    if rows:
        runtime.nudge("deliver")
    return len(rows)


def deliver(runtime: Runtime) -> int:
    _note(runtime, "deliver")
    block = runtime.settings.home / "block-deliver"
    deadline = time.monotonic() + 30
    while block.exists() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return 0


def drain(runtime: Runtime) -> int:
    if (runtime.settings.home / "break-drain").exists():
        raise RuntimeError("the drain is broken on purpose")
    return _note(runtime, "drain")


def write_back(runtime: Runtime) -> int:
    return _note(runtime, "write_back")


def push(runtime: Runtime) -> int:
    return _note(runtime, "grades")


def pull(runtime: Runtime) -> int:
    return _note(runtime, "members")


def poll_due(runtime: Runtime) -> int:
    return _note(runtime, "poll")


def sync_due(runtime: Runtime) -> int:
    return _note(runtime, "sync")


def clean(runtime: Runtime) -> int:
    return _note(runtime, "housekeeping")


def _note(runtime: Runtime, name: str) -> int:
    with (runtime.settings.home / "calls").open("a") as file:
        file.write(f"{name}\n")
    return 0
