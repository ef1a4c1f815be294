"""The tasks: one for each kind of work. A task carries nothing, calls one flow, and may come twice or not at all."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bridge.flows.runtime import Runtime
from workers.app import KINDS, PERIODIC
from workers.quiet import OncePerMinute

#: The flow of each kind of work: called with the runtime, returns how many items it handled.
FLOWS = {
    "decide": "bridge.flows.decide_prompts:decide",
    "deliver": "bridge.flows.deliver_prompt:deliver",
    "drain": "bridge.flows.drain_outbox:drain",
    "write_back": "bridge.flows.write_back:write_back",
    "grades": "bridge.flows.push_grades:push",
    "poll": "bridge.flows.poll_events:poll_due",
    "sync": "bridge.flows.sync_catalogue:sync_due",
    "members": "bridge.flows.pull_members:pull",
    "housekeeping": "bridge.flows.housekeeping:clean",
}

#: After so long a task hands a backlog on to the next message: brokers take back what is not acknowledged for long.
TURN_SECONDS = 20.0

_log = logging.getLogger("flowbridge.worker")
_log.addFilter(OncePerMinute())


class Lanes:
    """Keeps one kind of work from starving the others: at most ``width`` threads are in the lane of a kind at once.

    Whoever finds a lane full need not wait: the one who leaves it next goes round again, so nothing that was committed
    before is overlooked.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._inside: Counter[str] = Counter()
        self._again: set[str] = set()
        self._lock = threading.Lock()

    def enter(self, kind: str) -> bool:
        """Whether there was room; if not, somebody inside goes round again."""
        with self._lock:
            if self._inside[kind] >= self._width:
                self._again.add(kind)
                return False
            self._inside[kind] += 1
            return True

    def leave(self, kind: str, *, at_once: bool = False) -> bool:
        """Whether the caller has left; if not, somebody found the lane full and the caller goes round again."""
        with self._lock:
            again = kind in self._again
            self._again.discard(kind)
            if again and not at_once:
                return False
            self._inside[kind] -= 1
            return True


class Work:
    """Runs the flows of one worker process over one runtime, which is made at the first task."""

    def __init__(self, start: Callable[[], Runtime], *, width: int, nudge: Callable[[str], None]) -> None:
        self.stopping = threading.Event()
        self._start, self._nudge = start, nudge
        self._lanes = Lanes(width)
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()

    @property
    def runtime(self) -> Runtime:
        """The process's runtime, which nudges as this worker does."""
        with self._lock:
            if self._runtime is None:
                self._runtime = self._start()
                self._runtime.nudge = self._nudge
            return self._runtime

    def run(self, kind: str) -> None:
        """Do what is due of one kind, as long as there is more; errors are logged, and the next beat tries again."""
        if not self._lanes.enter(kind):
            return
        until = time.monotonic() + TURN_SECONDS
        while True:
            more = self._once(kind) and kind not in PERIODIC
            if self.stopping.is_set() or time.monotonic() > until:
                self._lanes.leave(kind, at_once=True)
                self._nudge(kind)
                return
            if not more and self._lanes.leave(kind):
                return

    def _once(self, kind: str) -> bool:
        try:
            module, _, name = FLOWS[kind].partition(":")
            return bool(getattr(importlib.import_module(module), name)(self.runtime))
        except Exception:
            _log.exception("The work '%s' failed and is tried again within a second; what is due stays due.", kind)
            return False


def register(app: Any, work: Work) -> None:
    """Make every kind of work a task of the Celery app."""
    for kind in KINDS:
        # A walk over a catalogue may take longer than a broker waits for an acknowledgement; the beat asks again.
        app.task(_task(work, kind), name=kind, acks_late=kind not in PERIODIC)


def _task(work: Work, kind: str) -> Callable[[], None]:
    def run() -> None:
        work.run(kind)

    return run
