"""Write back: completions into the LMS, which stays the system of record."""

from __future__ import annotations

import dataclasses
import uuid

from sqlalchemy import update

from bridge.connect import ConfigError, ConnectorError, Outcome, Rejected, Retryable, WriteBack
from bridge.flows.connection_problem import forget_problem, note_problem
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import queue, tables

BATCH = 20
LEASE_SECONDS = 120
#: How long what waits for an admin waits before it is tried again, in seconds.
CONFIG_RETRY_SECONDS = SWITCHED_OFF_SECONDS = 300


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
        if row.lease != token or row.due_at is None:
            return  # those before it took so long that it is somebody else's by now
        outcome, connection = _outcome(row), row.connection
    try:
        if not connection.enabled:
            raise Retryable(f"the connection '{connection.name}' is switched off", retry_after=SWITCHED_OFF_SECONDS)
        if not outcome.account_id:
            raise Rejected(f"the person has no account in '{connection.name}'; add one, then replay")
        connector = runtime.connector(connection)
        if not isinstance(connector, WriteBack):
            raise Rejected(f"'{connection.name}' ({connection.connector}) takes no outcomes")
        receipt = connector.record(outcome, idempotency_key=str(outcome_id))
        values: dict[str, object] = {"state": "recorded", "due_at": None, "error": None}
        values["receipt"] = dataclasses.asdict(receipt)
        forget_problem(runtime, connection)
    except Retryable as error:
        values = _later(row, error, error.retry_after)
    except ConfigError as error:
        note_problem(runtime, connection_id, str(error))
        values = _later(row, error, CONFIG_RETRY_SECONDS)
    except ConnectorError as error:
        values = {"state": "failed", "due_at": None, "error": str(error)}
    except Exception as error:
        # A connector's own fault must not keep the other outcomes waiting.
        logger("write_back").exception("a connector failed", connection=connection.name)
        values = _later(row, f"the connector failed ({type(error).__name__}); see the log", None)
    ours = (tables.WriteBack.outcome_id == outcome_id) & (tables.WriteBack.connection_id == connection_id)
    if values.get("state") != "recorded":
        ours &= queue.held(tables.WriteBack, token)
    with runtime.db.write() as session:
        session.execute(update(tables.WriteBack).where(ours).values(lease=None, **values))


def _later(row: tables.WriteBack, error: object, wait: float | None) -> dict[str, object]:
    return {"due_at": queue.back_off(row.attempts, retry_after=wait), "error": str(error)}


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
