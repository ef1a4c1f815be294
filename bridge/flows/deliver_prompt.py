"""Deliver: put each prompt where its person works. One delivery, one receipt, however often it is tried."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

from sqlalchemy import Update, select, update

from bridge.connect import Channel, ConfigError, ConnectorError, Prompt, Receipt, Recipient, Rejected, Retryable
from bridge.domain.rules import WIDGET
from bridge.flows import open_launch
from bridge.flows.connection_problem import forget_problem, note_problem
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, queue, tables

BATCH = 20
LEASE_SECONDS = 120
#: How long what waits for an admin waits before it is tried again: the admin may have mended it in the other system.
CONFIG_RETRY_SECONDS = 300
#: A delivery that could not be made for so long is of no use any more.
GIVE_UP_AFTER = dt.timedelta(days=2)


def deliver(runtime: Runtime) -> int:
    """Deliver up to a batch of waiting prompts; returns how many were tried."""
    with runtime.db.write() as session:
        token, rows = queue.claim(session, tables.Delivery, limit=BATCH, lease_seconds=LEASE_SECONDS)
        waiting = [row.id for row in rows]
    for delivery_id in waiting:
        _deliver(runtime, delivery_id, token)
    return len(waiting)


def _deliver(runtime: Runtime, delivery_id: uuid.UUID, token: str) -> None:
    with runtime.db.read() as session:
        delivery = session.get_one(tables.Delivery, delivery_id)
        if delivery.lease != token or delivery.due_at is None:
            return  # those before it took so long that it is somebody else's by now, or it was shown or withdrawn
        prompt = delivery.prompt
        connection = session.scalar(select(tables.Connection).where(tables.Connection.name == delivery.channel))
        recipient = _recipient(prompt, delivery.channel)
        asset = prompt.asset
    if delivery.channel == WIDGET:
        _settle(runtime, delivery_id, due_at=None)  # the widget asks by itself, and says when it has shown it
        return
    try:
        shown = _as_shown(runtime, prompt, asset)
        receipt = _through(runtime, connection, delivery.channel, shown, recipient, key=str(delivery_id))
    except Retryable as error:
        _again(runtime, delivery, token, error)
    except ConnectorError as error:
        _failed(runtime, delivery, token, error, connection)
    except Exception as error:
        # A connector's own fault must not keep the other channels waiting.
        logger("deliver").exception("a connector failed", channel=delivery.channel)
        _again(runtime, delivery, token, Retryable(f"the connector failed ({type(error).__name__}); see the log"))
    else:
        _settle(
            runtime,
            delivery_id,
            state="delivered",
            due_at=None,
            receipt=dataclasses.asdict(receipt),
            delivered_at=now(),
        )
        forget_problem(runtime, connection)


def _through(
    runtime: Runtime, connection: tables.Connection | None, name: str, prompt: Prompt, to: Recipient, *, key: str
) -> Receipt:
    if connection is None:
        raise Rejected(f"there is no connection '{name}' to deliver through")
    if not connection.enabled:
        raise Retryable(f"the connection '{name}' is switched off", retry_after=300)
    connector = runtime.connector(connection)
    if not isinstance(connector, Channel):
        raise Rejected(f"the connection '{name}' ({connection.connector}) shows no prompts")
    if len(prompt.say) > connector.limits.text:
        prompt = dataclasses.replace(prompt, say=prompt.say[: connector.limits.text - 1] + "…")
    return connector.deliver(prompt, to, idempotency_key=key)


def _recipient(prompt: tables.Prompt, channel: str) -> Recipient:
    person = prompt.person
    accounts = person.accounts if person else []
    return Recipient(
        subject=prompt.subject if prompt.event.connection.name == channel else "",
        account_id=next((account.subject for account in accounts if account.issuer == channel), ""),
        email=person.email if person else "",
    )


def _as_shown(runtime: Runtime, prompt: tables.Prompt, asset: tables.Asset | None) -> Prompt:
    return Prompt(
        id=str(prompt.id),
        title=asset.title if asset else "",
        say=prompt.say,
        launch_url=open_launch.launch_url(runtime, prompt.id),
        asset_kind=asset.kind if asset else "",
        duration_seconds=asset.duration_seconds if asset else None,
    )


def _settle(runtime: Runtime, delivery_id: uuid.UUID, **values: object) -> None:
    with runtime.db.write() as session:
        session.execute(
            update(tables.Delivery).where(tables.Delivery.id == delivery_id).values(lease=None, error=None, **values)
        )


def _again(
    runtime: Runtime, delivery: tables.Delivery, token: str, error: ConnectorError, *, retry_after: float | None = None
) -> None:
    values: dict[str, object] = {"lease": None, "error": str(error)}
    if delivery.prompt.created_at < now() - GIVE_UP_AFTER:
        values |= {"state": "failed", "due_at": None}
    else:
        wait = error.retry_after if isinstance(error, Retryable) else retry_after
        values["due_at"] = queue.back_off(delivery.attempts, retry_after=wait)
    with runtime.db.write() as session:
        session.execute(_ours(delivery.id, token).values(values))


def _failed(
    runtime: Runtime, delivery: tables.Delivery, token: str, error: ConnectorError, connection: tables.Connection | None
) -> None:
    """What can't pass as it is: a wrong item fails for good, a wrong connection keeps its items and tells the admin."""
    if isinstance(error, ConfigError) and connection is not None:
        note_problem(runtime, connection.id, str(error))
        _again(runtime, delivery, token, error, retry_after=CONFIG_RETRY_SECONDS)
        return
    with runtime.db.write() as session:
        gone = {"state": "failed", "due_at": None, "lease": None, "error": str(error)}
        session.execute(_ours(delivery.id, token).values(gone))


def _ours(delivery_id: uuid.UUID, token: str) -> Update:
    return update(tables.Delivery).where(tables.Delivery.id == delivery_id, queue.held(tables.Delivery, token))
