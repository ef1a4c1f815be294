"""How much a destination takes: at once by count and bytes, and per second."""

from __future__ import annotations

import dataclasses
import datetime as dt

#: A budget that was not used is kept for so long, in seconds: workers look for what is due once a second.
BURST_SECONDS = 2.0
#: What is sent first after a pause, to see whether the destination takes something again.
PROBE = 10

_DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The most statements and bytes of one request, and statements per second (None: as many as it takes)."""

    batch: int = 100
    batch_bytes: int = 1_000_000
    rate: float | None = None

    def affordable(self, most: int, spent_until: dt.datetime | None, at: dt.datetime) -> int:
        """How many of ``most`` may be sent at ``at``: the generic cell rate algorithm (ITU-T I.371, annex A)."""
        if self.rate is None:
            return most
        burst = max(BURST_SECONDS, 1 / self.rate)
        ahead = max(0.0, (spent_until - at).total_seconds()) if spent_until else 0.0
        return max(0, min(self.batch, int((burst - ahead) * self.rate + 1e-6)))

    def spent(self, spent_until: dt.datetime | None, at: dt.datetime, count: int) -> dt.datetime:
        """Up to when the budget is spent, once ``count`` statements are sent."""
        assert self.rate is not None
        return max(spent_until or at, at) + dt.timedelta(seconds=count / self.rate)

    def most_bytes(self, learned: int | None, learned_at: dt.datetime | None, at: dt.datetime) -> int:
        """The most bytes of a request: what the destination's answers have taught, doubled for each day since.

        So a limit that was lifted there is forgotten here, and one that stands costs a refused request a day.
        """
        if learned is None or learned_at is None:
            return self.batch_bytes
        return min(self.batch_bytes, learned << min(max(0, (at - learned_at) // _DAY), 40))
