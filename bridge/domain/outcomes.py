"""Outcomes: what came of a launch."""

from __future__ import annotations

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a launch, as a write-back receives it.

    ``score`` is scaled to 0..1. ``person`` and ``asset`` carry the ids by which the receiving system knows them.
    """

    launch_id: str
    asset_external_id: str
    account_id: str
    completed: bool
    success: bool | None
    score: float | None
    occurred_at: dt.datetime
