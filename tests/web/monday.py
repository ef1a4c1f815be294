"""A bridge on a Monday, made through the flows: something of everything that an admin has to look at."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

import responses
from requests import PreparedRequest
from sqlalchemy import select

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import (
    accept_event,
    configure,
    decide_prompts,
    deliver_prompt,
    drain_outbox,
    identity,
    open_launch,
    record_outcome,
    show_prompts,
    sync_catalogue,
)
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

ADMIN, PASSWORD = "admin@localhost", "a long enough password"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
LRS, ARCHIVE = "http://lrs.test/xapi", "http://archive.test/xapi"
REFUSED = "the object's id is not an absolute IRI"

CONFIGURATION = """
connections:
  - name: desk
    connector: webhook
    config: {secrets: ["%(secret)s"], sign_in_secret: "a sign-in secret of thirty-two bytes", origins: ["http://desk.test"]}
    options: {app_url: "http://desk.test/"}
  - name: guides
    connector: files
    config: {path: "%(guides)s"}
  - name: chat
    connector: webhook
    config: {secrets: ["%(secret)s"], url: "http://chat.test/prompts"}
  - name: records
    connector: lrs
    config: {endpoint: "http://lrs.test/xapi", key: flowbridge, secret: "file:%(password)s"}
  - name: archive
    connector: lrs
    config: {endpoint: "http://archive.test/xapi", token: "the-archives-own-token"}
people:
  - {key: E001, name: Sam Seller, email: sam@example.com, accounts: {desk: sam}}
  - {key: E002, name: Priya Planner, email: priya@example.com, accounts: {desk: priya}}
  - {key: E003, name: Twin One, email: twins@example.com}
  - {key: E004, name: Twin Two, email: twins@example.com}
  - {key: E005, name: Sandra Support, email: sandra@example.com}
rules:
  - name: enterprise-pricing
    on: desk.opportunity.created
    when: event.data.amount > 100000
    for: owner
    offer: {asset: guides/pricing.md}
    say: "Before you quote {{ event.data.customer }}, read this."
    through: [widget, chat]
  - name: stakeholder-risk
    on: desk.project.created
    for: owner
    offer: {search: stakeholder, kinds: [checklist]}
    say: "Two minutes on stakeholder risk."
    limits: {once_per: object, cool_down: 1h, skip_if_completed_within: 90d}
"""

GUIDES = {
    "pricing.md": """---
title: Pricing for enterprises
kind: guide
summary: Four things to check before a price leaves the house.
duration: PT90S
tags: [pricing]
---
Anchor first, {{ event.data.customer }} will ask for a discount.
""",
    "stakeholders.md": """---
title: Stakeholder risk in two minutes
kind: checklist
summary: Who can stop the project, and what would make them?
duration: PT2M
---
- [ ] List who can say no
- [ ] Ask each what would make them say it
""",
    "escalation.md": """---
title: Calm an escalation
kind: sop
duration: PT10M
---
1. Answer within the hour
2. Say what happens next
""",
}


def organise(runtime: Runtime, folder: Path) -> None:
    """Connections, people, rules and a catalogue; the admin has chosen a password."""
    guides = folder / "guides"
    guides.mkdir()
    for name, text in GUIDES.items():
        (guides / name).write_text(text)
    file = folder / "flowbridge.yaml"
    password = folder / "lrs-password"
    password.write_text("known to the LRS")
    file.write_text(CONFIGURATION % {"secret": SECRET, "guides": guides, "password": password})
    configure.apply(runtime, file)
    sync_catalogue.sync(runtime, "guides")
    with runtime.db.read() as session:
        admin = session.scalars(select(tables.Person).where(tables.Person.role == "admin")).one()
    identity.set_password(runtime, admin.id, PASSWORD)


def opportunity(number: int, *, owner: PersonRef | None = None, amount: object = 250_000) -> BusinessEvent:
    return BusinessEvent(
        id=f"opportunity-{number}",
        type="desk.opportunity.created",
        source="https://desk.test",
        subject=f"opportunity/{number}",
        time=now(),
        data={"amount": amount, "customer": "Hooli", "contact": {"name": "Gavin", "city": "Palo Alto"}},
        people={"owner": owner or PersonRef(id="sam", email="sam@example.com", name="Sam Seller")},
    )


def project(number: int) -> BusinessEvent:
    return BusinessEvent(
        id=f"project-{number}",
        type="desk.project.created",
        source="https://desk.test",
        subject=f"project/{number}",
        time=now(),
        data={"name": "Harbour crane", "budget": 90_000},
        people={"owner": PersonRef(id="priya")},
    )


def happen(runtime: Runtime, *events: BusinessEvent) -> None:
    """Events come in and are decided on."""
    accept_event.accept(runtime, "desk", events)
    decide_prompts.decide(runtime)


def prompt_of(runtime: Runtime, subject: str) -> tables.Prompt:
    """The prompt that was offered about a record."""
    with runtime.db.read() as session:
        query = select(tables.Prompt).where(tables.Prompt.subject == subject, tables.Prompt.offered)
        return session.scalars(query).one()


def complete(runtime: Runtime, subject: str) -> None:
    """The person opens what was offered and finishes it."""
    prompt = prompt_of(runtime, subject)
    assert prompt.person_id is not None
    show_prompts.mark_shown(runtime, prompt.id, prompt.person_id)
    opened = open_launch.open_prompt(runtime, prompt.id, prompt.person_id)
    for step in opened.steps:
        record_outcome.tick(runtime, opened.launch_id, prompt.person_id, step.id, done=True)
    record_outcome.finish(runtime, opened.launch_id, prompt.person_id)


def monday(runtime: Runtime, folder: Path) -> None:
    """Two weeks of work; today some of it went wrong: a chat that refuses, an LRS whose password is wrong."""
    organise(runtime, folder)
    happen(runtime, opportunity(1), opportunity(2, amount=99), opportunity(3, amount="many"), project(1))
    happen(runtime, opportunity(4, owner=PersonRef(id="sandy", email="sandra.s@example.com", name="Sandy")))
    happen(runtime, opportunity(5, owner=PersonRef(id="sandy", email="sandra.s@example.com", name="Sandy")))
    happen(runtime, opportunity(6, owner=PersonRef(email="twins@example.com")))
    complete(runtime, "project/1")
    _today_s_trouble(runtime)
    _earlier_days(runtime)


def _today_s_trouble(runtime: Runtime) -> None:
    with responses.RequestsMock() as systems:
        systems.post("http://chat.test/prompts", status=422, body="this channel was archived")
        deliver_prompt.deliver(runtime)
    with responses.RequestsMock() as systems:
        systems.post(f"{LRS}/statements", status=400, json={"message": REFUSED})
        systems.post(f"{ARCHIVE}/statements", status=401, json={"message": "wrong token"})
        drain_outbox.drain(runtime)


def _earlier_days(runtime: Runtime) -> None:
    """The same kinds of work on the days before, moved back in time: for the plot."""
    chance = random.Random(7)
    for back in range(1, 14):
        at = now() - dt.timedelta(days=back)
        numbers = [100 * back + n for n in range(0 if at.weekday() >= 5 else chance.randint(3, 7))]
        happen(runtime, *(opportunity(number) for number in numbers))
        for number in numbers[: len(numbers) * 2 // 3]:
            complete(runtime, f"opportunity/{number}")
        _move(runtime, numbers, dt.timedelta(days=back))
    with responses.RequestsMock() as systems:
        systems.post("http://chat.test/prompts", status=200)
        systems.add_callback("POST", f"{LRS}/statements", _stored)
        while deliver_prompt.deliver(runtime):
            pass
        drain_outbox.drain(runtime)


def _stored(request: PreparedRequest) -> tuple[int, dict[str, str], str]:
    return 200, {}, json.dumps([statement["id"] for statement in json.loads(request.body or "[]")])


def _move(runtime: Runtime, numbers: list[int], back: dt.timedelta) -> None:
    subjects = [f"opportunity/{number}" for number in numbers]
    with runtime.db.write() as session:
        for event in session.scalars(select(tables.Event).where(tables.Event.subject.in_(subjects))):
            event.time -= back
            event.received_at -= back
        for prompt in session.scalars(select(tables.Prompt).where(tables.Prompt.subject.in_(subjects))):
            prompt.created_at -= back
        launches = select(tables.Launch).join(tables.Prompt).where(tables.Prompt.subject.in_(subjects))
        for place, launch in enumerate(session.scalars(launches)):
            launch.started_at -= back
            launch.completed_at = None if place % 3 == 2 else (launch.completed_at or now()) - back
        outcomes = select(tables.Outcome).join(tables.Launch).join(tables.Prompt)
        for outcome in session.scalars(outcomes.where(tables.Prompt.subject.in_(subjects))):
            outcome.occurred_at -= back
        statements = select(tables.Statement).join(tables.Launch, tables.Launch.id == tables.Statement.launch_id)
        told = statements.join(tables.Prompt, tables.Prompt.id == tables.Launch.prompt_id)
        for statement in session.scalars(told.where(tables.Prompt.subject.in_(subjects))):
            statement.stored -= back
