"""What the widget shows: the open prompts of one person, and what became of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Set
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from bridge.domain.rules import WIDGET
from bridge.flows.errors import NotFound
from bridge.flows.runtime import Runtime
from bridge.lti.platform import registrations
from bridge.store import now, tables

#: A transaction that is committed, or a score that arrives, so much later than its time is still seen at once.
_AROUND = dt.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt as the widget and the person's own page show it; ``state`` is "open" or "done".

    ``in_frame`` says that the widget opens it over the page, and not in a new tab.
    """

    id: uuid.UUID
    title: str
    say: str
    asset_kind: str
    how: str
    in_frame: bool
    duration_seconds: int | None
    subject: str
    connection: str
    created_at: dt.datetime
    state: str


def open_prompts(runtime: Runtime, person_id: int, *, limit: int = 20) -> list[ShownPrompt]:
    """The newest prompts of a person that were meant for the widget and not dismissed."""
    query = (
        select(tables.Prompt)
        .join(tables.Delivery)
        .where(
            tables.Prompt.person_id == person_id,
            tables.Prompt.offered,
            tables.Prompt.dismissed_at.is_(None),
            tables.Delivery.channel == WIDGET,
            tables.Delivery.state != "withdrawn",
        )
        .options(joinedload(tables.Prompt.asset), joinedload(tables.Prompt.event).joinedload(tables.Event.connection))
        .order_by(tables.Prompt.created_at.desc())
        .limit(limit)
    )
    with runtime.db.read() as session:
        prompts = session.scalars(query).all()
        done = _done(session, [prompt.id for prompt in prompts])
        framed = registrations.framed(session)
        return [
            _shown(prompt, prompt.asset, done=prompt.id in done, framed=framed)
            for prompt in prompts
            if prompt.asset is not None
        ]


def _done(session: Session, prompts: list[uuid.UUID]) -> set[uuid.UUID]:
    return set(
        session.scalars(
            select(tables.Launch.prompt_id).where(
                tables.Launch.prompt_id.in_(prompts), tables.Launch.completed_at.is_not(None)
            )
        )
    )


def _shown(prompt: tables.Prompt, asset: tables.Asset, *, done: bool, framed: Set[str]) -> ShownPrompt:
    how = (asset.opening or {}).get("how", "")
    return ShownPrompt(
        id=prompt.id,
        title=asset.title,
        say=prompt.say,
        asset_kind=asset.kind,
        how=how,
        in_frame=how == "lti" and registrations.name_for(asset) in framed,
        duration_seconds=asset.duration_seconds,
        subject=prompt.subject,
        connection=prompt.event.connection.name,
        created_at=prompt.created_at,
        state="done" if done else "open",
    )


def latest(runtime: Runtime) -> str:
    """A cheap cursor that changes whenever a widget somewhere has something new to show."""
    with runtime.db.read() as session:
        return f"{_newest(session, tables.Prompt.created_at)}|{_newest(session, tables.Launch.completed_at)}"


def _newest(session: Session, time: InstrumentedAttribute[Any]) -> str:
    """The newest time and how many there are just before it: rows are not committed in the order of their times."""
    last = session.scalar(select(func.max(time)))
    count = session.scalar(select(func.count(time)).where(time > last - _AROUND)) if last else 0
    return f"{last}/{count}"


def mark_shown(runtime: Runtime, prompt_id: uuid.UUID, person_id: int) -> None:
    """The widget has shown it: the delivery's receipt."""
    with runtime.db.write() as session:
        _own(session, prompt_id, person_id)
        delivery = session.scalar(
            select(tables.Delivery).where(tables.Delivery.prompt_id == prompt_id, tables.Delivery.channel == WIDGET)
        )
        if delivery is not None and delivery.state == "waiting":
            at = now()
            delivery.state, delivery.delivered_at, delivery.due_at = "shown", at, None
            delivery.receipt = {"external_id": str(delivery.id), "url": ""}


def dismiss(runtime: Runtime, prompt_id: uuid.UUID, person_id: int) -> None:
    """The person does not want it: it is not shown again."""
    with runtime.db.write() as session:
        prompt = _own(session, prompt_id, person_id)
        prompt.dismissed_at = prompt.dismissed_at or now()


def _own(session: Session, prompt_id: uuid.UUID, person_id: int) -> tables.Prompt:
    prompt = session.get(tables.Prompt, prompt_id)
    if prompt is None or prompt.person_id != person_id:
        raise NotFound("there is no such prompt for you")
    return prompt
