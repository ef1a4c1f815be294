"""What is broken: each way returns in words what it did, or nothing where there is nothing to break just now."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from bridge.flows.runtime import Runtime
from bridge.store import now
from bridge.store.tables import Connection, OutboxLease
from tests.chaos.installation import Installation
from tests.chaos.processes import Tree, kill

#: How long a broker or a database is away, in seconds, before it is started again.
AWAY = (0.2, 1.5)


class Breaker:
    """Breaks things of an installation; which ones is by chance; ``done`` counts them by kind."""

    def __init__(self, broken: Installation, chance: random.Random, tell: Callable[[str], None]) -> None:
        self._of, self._chance, self._tell = broken, chance, tell
        self._kinds: Mapping[str, Callable[[], str]] = {
            "worker": self._worker,
            "child": self._child,
            "web": self._web,
            "producer": self._producer,
            "leases": self._leases,
            "broker": lambda: self._service("broker"),
            "database": lambda: self._service("database"),
        }
        self.done: dict[str, int] = {}

    def schedule(self, breaks: Mapping[str, int]) -> list[str]:
        """Kinds of breaking in an order by chance, without what is not there."""
        has = [kind for kind in breaks if kind not in ("broker", "database") or kind in self._of.services]
        order = [kind for kind in has for _ in range(breaks[kind])]
        self._chance.shuffle(order)
        return order

    def do(self, kind: str) -> bool:
        """Break one thing of a kind; False where there is none just now."""
        words = self._kinds[kind]()
        if words:
            self._tell(words)
            self.done[kind] = self.done.get(kind, 0) + 1
        return bool(words)

    def _worker(self) -> str:
        """A worker and all that it has started, or all of ``serve``."""
        return self._all_of([tree for tree in self._of.bridge if not tree.name.startswith("web")])

    def _child(self) -> str:
        """One process that the bridge's own supervisors are to replace."""
        children = [(pid, word) for tree in self._of.bridge for pid, word in tree.below().items()]
        return self._one_of([(pid, word) for pid, word in children if "resource_tracker" not in word])

    def _web(self) -> str:
        """The process that answers HTTP, and all of ``web`` where it is a command of its own."""
        webs = [tree for tree in self._of.bridge if tree.name.startswith("web")]
        children = [(pid, word) for tree in self._of.bridge for pid, word in tree.below().items() if word == "web"]
        return self._all_of(webs) or self._one_of(children)

    def _producer(self) -> str:
        return self._all_of(self._of.producers)

    def _all_of(self, trees: Sequence[Tree]) -> str:
        running = [tree for tree in trees if tree.code is None]
        if not running:
            return ""
        chosen = self._chance.choice(running)
        chosen.kill()
        return f"killed {chosen.name}"

    def _one_of(self, processes: Sequence[tuple[int, str]]) -> str:
        if not processes:
            return ""
        pid, word = self._chance.choice(processes)
        kill(pid)
        return f"killed {pid}, a child ({word})"

    def _leases(self) -> str:
        """Every lease is over while its holder still works, as after a frozen machine."""
        try:
            with self._of.runtime.db.write() as session:
                session.execute(update(OutboxLease).values(until=now() - dt.timedelta(seconds=1)))
        except DBAPIError:
            return ""
        return "ended all leases"

    def _service(self, what: str) -> str:
        service = self._of.services[what]
        service.wait()  # for what the last time left starting
        service.stop()
        time.sleep(self._chance.uniform(*AWAY))
        service.start()
        return f"restarted the {what}"


def hurry(runtime: Runtime) -> None:
    """Leases and pauses are over, as they are after some minutes."""
    with runtime.db.write() as session:
        session.execute(update(OutboxLease).values(until=now() - dt.timedelta(seconds=1)))
        session.execute(update(Connection).values(paused_until=None))
