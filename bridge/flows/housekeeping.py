"""Housekeeping: rows that can't matter any more."""

from __future__ import annotations

from sqlalchemy import delete

from bridge.flows.runtime import Runtime
from bridge.store import now, tables


def clean(runtime: Runtime) -> int:
    """Delete what has expired: launches under way, used nonces, service tokens, sign-ins; returns how many rows."""
    count = 0
    for table in (tables.LtiHint, tables.UsedToken, tables.AccessToken, tables.SignInSession):
        with runtime.db.write() as session:
            gone = session.execute(delete(table).where(table.expires_at <= now()).returning(table.expires_at))
            count += len(gone.all())
    return count
