"""Write back: completions into the LMS, which stays the system of record."""

from __future__ import annotations

import dataclasses
import uuid

from sqlalchemy import update

from bridge.connect import ConfigError, ConnectorError, Outcome, Rejected, Retryable, WriteBack
from bridge.flows.runtime import Runtime
from bridge.store import queue, tables

BATCH = 20
LEASE_SECONDS = 120


def write_back(runtime: Runtime) -> int:
    """Write up to a batch of waiting outcomes into the systems that their assets came from; returns how many."""
    with runtime.db.write() as session:
        token, rows = queue.claim(session, tables.WriteBack, limit=BATCH, lease_seconds=LEASE_SECONDS)
        waiting = [(row.outcome_id, row.connection_id) for row in rows]
    for outcome_id, connection_id in waiting:
        _write(runtime, outcome_id, connection_id, token)
    return len(waiting)


def _write(runtime: Runtime, outcome_id: uuid.UUID, connection_id: int, token: str) -> None:
    with runtime.db.read() as session:
        row = session.get_one(tables.WriteBack, (outcome_id, connection_id))
        outcome, connection = _outcome(row), row.connection
    try:
        if not outcome.account_id:
            raise Rejected(f"the person has no account in '{connection.name}'; add one, then replay")
        connector = runtime.connector(connection)
        if not isinstance(connector, WriteBack):
            raise Rejected(f"'{connection.name}' ({connection.connector}) takes no outcomes")
        receipt = connector.record(outcome, idempotency_key=str(outcome_id))
        values: dict[str, object] = {"state": "recorded", "due_at": None, "receipt": dataclasses.asdict(receipt)}
    except (Retryable, ConfigError) as error:
        wait = error.retry_after if isinstance(error, Retryable) else 300
        values = {"due_at": queue.back_off(row.attempts, retry_after=wait), "error": str(error)}
    except ConnectorError as error:
        values = {"state": "failed", "due_at": None, "error": str(error)}
    ours = (tables.WriteBack.outcome_id == outcome_id) & (tables.WriteBack.connection_id == connection_id)
    if values.get("state") != "recorded":
        ours &= queue.held(tables.WriteBack, token)
    with runtime.db.write() as session:
        session.execute(update(tables.WriteBack).where(ours).values(lease=None, **values))


def _outcome(row: tables.WriteBack) -> Outcome:
    outcome, launch, name = row.outcome, row.outcome.launch, row.connection.name
    accounts = launch.person.accounts
    return Outcome(
        launch_id=str(launch.id),
        asset_external_id=launch.asset.external_id,
        account_id=next((account.subject for account in accounts if account.issuer == name), ""),
        completed=outcome.completed,
        success=outcome.success,
        score=outcome.score,
        occurred_at=outcome.occurred_at,
    )
