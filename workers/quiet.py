"""Logs that say a thing once a minute, not once a second, while something is down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

PERIOD_SECONDS = 60.0


class OncePerMinute(logging.Filter):
    """Lets a record through unless one of the same logger, text and first argument went through within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        first = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        key, at = (record.name, str(record.msg), first), self._clock()
        with self._lock:
            self._last = {known: seen for known, seen in self._last.items() if at - seen < PERIOD_SECONDS}
            if key in self._last:
                return False
            self._last[key] = at
        return True
