"""Housekeeping: rows that can't matter any more."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete

from bridge.flows.runtime import Runtime
from bridge.store import now, tables

_PASSING = (
    tables.LtiHint,
    tables.ContentSelection,
    tables.LmsPlacing,
    tables.LmsLogin,
    tables.RegistrationTicket,
    tables.UsedToken,
    tables.AccessToken,
    tables.SignInSession,
    tables.ContentSession,
)
#: Whoever comes back with one of these a while too late is told that it ran out, and not that it is unknown.
_REMEMBERED: dict[type[tables.Base], dt.timedelta] = {
    table: dt.timedelta(days=1) for table in (tables.RegistrationTicket, tables.ContentSelection, tables.ContentSession)
}


def clean(runtime: Runtime) -> int:
    """Delete what has expired: launches under way, used nonces, tokens, sign-ins; returns how many rows."""
    count = 0
    for table in _PASSING:
        until = now() - _REMEMBERED.get(table, dt.timedelta())
        with runtime.db.write() as session:
            gone = session.execute(delete(table).where(table.expires_at <= until).returning(table.expires_at))
            count += len(gone.all())
    return count
