"""Time goes by: what was killed is started again, the numbers are told, and who waits in vain learns why."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from bridge.store.tables import Base, Connection, Outbox, OutboxLease, Statement, StatementReceipt
from tests.chaos.installation import Installation

LOOK_SECONDS = 0.2
#: How often the progress is told, in seconds.
TELL_SECONDS = 5.0
#: How often something is done meanwhile, in seconds.
ACT_SECONDS = 1.5
_LAST_LINES = 15


class Stuck(Exception):
    """It did not come to its end; the message says what is left, and what the processes said last."""


class Progress:
    """Looks after an installation."""

    def __init__(self, whole: Installation, tell: Callable[[str], None]) -> None:
        self._whole, self._tell = whole, tell
        self._settled = 0
        self.begin()

    def begin(self) -> None:
        """Time counts from now on."""
        self._began = self._told = self._acted = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def tell(self, words: str) -> None:
        self._tell(f"{self.seconds:6.1f} s  {words}")

    def until(
        self, what: str, look: Callable[[], bool], seconds: float, *, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Keep everything running until ``look`` says so, and do ``meanwhile`` now and then. Raises Stuck."""
        deadline = time.monotonic() + seconds
        while not look():
            self._revive()
            if time.monotonic() > deadline:
                raise Stuck(f"waited {seconds:.0f} s for {what}: {self.state()}\n{self._last_words()}")
            if time.monotonic() - self._told > TELL_SECONDS:
                self._told = time.monotonic()
                self.tell(self.state())
            if meanwhile and time.monotonic() - self._acted > ACT_SECONDS:
                self._acted = time.monotonic()
                meanwhile()
            time.sleep(LOOK_SECONDS)

    def within(self, seconds: float, look: Callable[[], object] = lambda: False) -> None:
        """Keep everything running for a while, or until ``look`` says so before."""
        end = time.monotonic() + seconds
        self.until("time to pass", lambda: bool(look()) or time.monotonic() >= end, seconds + 60)

    def more_settled(self) -> bool:
        """More than the last time that this was asked."""
        try:
            [settled] = self._counted(StatementReceipt)
        except DBAPIError:
            return False
        before, self._settled = self._settled, max(settled, self._settled)
        return settled > before

    def all_stated(self) -> bool:
        """The producers are through, each by itself."""
        return all(producer.code == 0 for producer in self._whole.producers)

    def nothing_left(self) -> bool:
        try:
            return self._counted(Outbox, OutboxLease) == [0, 0]
        except DBAPIError:
            return False

    def state(self) -> str:
        """Where everything is, in words."""
        try:
            stated, settled, waiting, leases = self._counted(Statement, StatementReceipt, Outbox, OutboxLease)
            with self._whole.runtime.db.read() as session:
                sink = session.scalars(select(Connection)).one()
        except DBAPIError:
            return "the database is away"
        stopped = f", stopped: {sink.problem}" if sink.problem else ""
        paused = f", paused until {sink.paused_until:%H:%M:%S}" if sink.paused_until else ""
        return f"{stated} stated, {settled} settled, {waiting} wait, {leases} leases{stopped}{paused}"

    def _counted(self, *tables: type[Base]) -> list[int]:
        with self._whole.runtime.db.read() as session:
            return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]

    def _revive(self) -> None:
        """Start again what has ended, as whoever supervises a machine does."""
        assert self._whole.sink.code is None, self._whole.sink.log.read_text()[-2000:]
        for producer in self._whole.producers:
            if (producer.code or 0) > 0:
                raise Stuck(f"{producer.name} gave up: {producer.log.read_text()[-2000:]}")
            if (producer.code or 0) < 0:
                producer.start()
        for tree in self._whole.bridge:
            if tree.code is not None:
                tree.start()

    def _last_words(self) -> str:
        logs = sorted({tree.log for tree in self._whole.trees() if tree.log.exists()})
        ends = {log.stem: log.read_text(errors="replace").splitlines()[-_LAST_LINES:] for log in logs}
        return "\n".join(f"{name} | {line}" for name, lines in ends.items() for line in lines)
