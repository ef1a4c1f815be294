"""What keeps a connection from working: told to the admin, until it works again."""

from __future__ import annotations

from sqlalchemy import update

from bridge.flows.runtime import Runtime
from bridge.store import tables


def note_problem(runtime: Runtime, connection_id: int, problem: str | None) -> None:
    """Set a connection's problem, or None; that is no change of its configuration, so ``updated_at`` stays."""
    row = tables.Connection
    values = {"problem": problem, "updated_at": row.updated_at}
    with runtime.db.write() as session:
        session.execute(update(row).where(row.id == connection_id).values(values))


def forget_problem(runtime: Runtime, connection: tables.Connection | None) -> None:
    """It worked: what was noted before is over. Writes only where there was something."""
    if connection is not None and connection.problem is not None:
        note_problem(runtime, connection.id, None)
