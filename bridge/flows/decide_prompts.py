"""Decide: for each event, what each rule says, and why. Every decision is kept, each "no" with its reason."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from bridge import conditions, templates
from bridge.domain import ids
from bridge.domain.prompts import Reason
from bridge.domain.rules import OncePer, Rule
from bridge.flows import catalogue, rules
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, queue, tables

BATCH = 100
LEASE_SECONDS = 60


class _No(Exception):
    """A decision that ends without a prompt."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decide(runtime: Runtime) -> int:
    """Decide on up to a batch of waiting events; returns how many."""
    with runtime.db.write() as session:
        _, events = queue.claim(session, tables.Event, limit=BATCH, lease_seconds=LEASE_SECONDS)
    delivered = False
    for event in sorted(events, key=lambda event: event.received_at):
        try:
            with runtime.db.write() as session:
                delivered |= decide_on(session, session.get_one(tables.Event, event.id, with_for_update=True))
        except DBAPIError:
            raise
        except Exception as error:
            # An event that nobody can decide on, for whatever reason, must not keep those behind it waiting.
            logger("decide").exception("an event could not be decided", event_id=str(event.id))
            _put_back(runtime, event, error)
    if delivered:
        runtime.nudge("deliver")
    return len(events)


def _put_back(runtime: Runtime, event: tables.Event, error: Exception) -> None:
    row, problem = tables.Event, f"{type(error).__name__}: {error}"
    with runtime.db.write() as session:
        later = {"due_at": queue.back_off(event.attempts), "lease": None, "error": problem}
        session.execute(update(row).where(row.id == event.id, row.decided_at.is_(None)).values(later))


def decide_on(session: Session, event: tables.Event) -> bool:
    """Let every rule for the event's type decide; returns whether a delivery is due now."""
    if event.decided_at is not None:
        return False
    found = session.scalars(
        select(tables.Rule)
        .where(tables.Rule.event_type == event.type, tables.Rule.enabled, tables.Rule.removed_at.is_(None))
        .order_by(tables.Rule.name)
    ).all()
    offered = [_decide(session, event, row) for row in found]
    event.decided_at, event.due_at, event.lease, event.error = now(), None, None, None
    return any(offered)


def decide_for(session: Session, event: tables.Event, row: tables.Rule, person: tables.Person) -> bool:
    """Make one rule's decision as if the event had named this person; returns whether a delivery is due now."""
    return _decide(session, event, row, person)


def _decide(session: Session, event: tables.Event, row: tables.Rule, named: tables.Person | None = None) -> bool:
    rule = rules.from_definition(row.definition)
    prompt = tables.Prompt(
        event_id=event.id, rule_id=row.id, rule_version=row.version, subject=event.subject, offered=False
    )
    facts = facts_of(event)
    candidates: list[Any] = []
    try:
        person = named or _person(session, event, rule, candidates)
        prompt.person_id = person.id if isinstance(person, tables.Person) else None
        _condition(rule, facts, person)
        if isinstance(person, _No):
            raise person
        asset = _asset(session, rule)
        prompt.asset_id = asset.id
        _limits(session, prompt, rule)
        prompt.say = _say(rule, facts, person, asset)
        prompt.offered, prompt.reason = True, Reason.OFFERED
    except _No as no:
        prompt.reason, prompt.detail = no.reason, no.detail
    key = facts["people"].get(rule.for_, {})
    who = str(prompt.person_id or f"{key.get('id', '')}|{key.get('email', '')}")
    prompt.id = ids.prompt_id(event.id, rule.name, who)
    if session.get(tables.Prompt, prompt.id) is not None:
        return False
    session.add(prompt)
    session.flush()
    if prompt.reason in (Reason.PERSON_UNKNOWN, Reason.PERSON_AMBIGUOUS):
        session.add(_unmatched(prompt, event, key, candidates))
    if prompt.offered:
        session.add_all(_delivery(prompt.id, channel) for channel in rule.through)
    return prompt.offered


def facts_of(event: tables.Event) -> dict[str, Any]:
    """An event as conditions, templates and guides see it."""
    return {
        "id": event.external_id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "data": event.data,
        "people": event.people,
    }


def person_facts(person: tables.Person) -> dict[str, Any]:
    """A person as conditions, templates and guides see them."""
    return {
        "key": person.key,
        "name": person.name,
        "email": person.email,
        "accounts": {account.issuer: account.subject for account in person.accounts},
        "attributes": person.attributes,
    }


def _person(session: Session, event: tables.Event, rule: Rule, candidates: list[Any]) -> tables.Person | _No:
    """The one person whom the rule is for, or why there is none: told only if the condition does not say no anyway."""
    ref = event.people.get(rule.for_) or {}
    account_id, email = ref.get("id", ""), ref.get("email", "").lower()
    if not account_id and not email:
        roles = ", ".join(sorted(event.people)) or "nobody"
        return _No(Reason.PERSON_MISSING, f"the event names no '{rule.for_}'; it names {roles}")
    if account_id:
        account = session.get(tables.Account, (event.connection.name, account_id))
        if account is not None:
            return account.person
    found = session.scalars(select(tables.Person).where(tables.Person.email == email)).all() if email else []
    if len(found) == 1 and not _has_other_account(found[0], event.connection.name, account_id):
        return found[0]
    candidates.extend({"key": person.key, "name": person.name} for person in found)
    named = f"account '{account_id}' of '{event.connection.name}'" if account_id else f"the address {email}"
    if len(found) == 1:
        who = f"{named} has the address of {found[0].key}, who is known there by another account"
        return _No(Reason.PERSON_AMBIGUOUS, f"{who}; an admin must say who it is")
    if found:
        return _No(Reason.PERSON_AMBIGUOUS, f"{named} could be {len(found)} people; an admin must say who it is")
    return _No(Reason.PERSON_UNKNOWN, f"{named} belongs to nobody known here; an admin must say who it is")


def _has_other_account(person: tables.Person, issuer: str, account_id: str) -> bool:
    """The address fits, but the person is known in that system under another account: not the same human for sure."""
    return bool(account_id) and any(account.issuer == issuer for account in person.accounts)


def _condition(rule: Rule, facts: Mapping[str, Any], person: tables.Person | _No) -> None:
    known = not isinstance(person, _No)
    verdict = conditions.compile(rule.when).evaluate(
        event=facts, person=person_facts(person) if isinstance(person, tables.Person) else None, now=now()
    )
    match verdict:
        case conditions.Matched():
            return
        case conditions.Failed(reason) if known:
            raise _No(Reason.CONDITION_FAILED, reason)
        case conditions.NotMatched():
            raise _No(Reason.CONDITION_FALSE, f"not true: {rule.when}")


def _asset(session: Session, rule: Rule) -> tables.Asset:
    asset = catalogue.choose(session, rule.offer)
    if asset is None:
        wanted = rule.offer.asset or f"search '{rule.offer.search}'"
        raise _No(Reason.ASSET_NOT_FOUND, f"the catalogue has no {wanted}; synchronise it, or change the rule")
    if asset.retired_at is not None:
        raise _No(
            Reason.ASSET_RETIRED, f"'{asset.title}' was taken out of its catalogue on {asset.retired_at:%Y-%m-%d}"
        )
    if asset.opening is None:
        raise _No(Reason.ASSET_NOT_OPENABLE, f"'{asset.title}' is listed, but there is no way to open it from here")
    return asset


def _limits(session: Session, prompt: tables.Prompt, rule: Rule) -> None:
    # Two workers may decide on two events of one person at once: the second waits here for the first one's prompt.
    session.get_one(tables.Person, prompt.person_id, with_for_update=True)
    mine = select(func.max(tables.Prompt.created_at)).where(
        tables.Prompt.rule_id == prompt.rule_id, tables.Prompt.person_id == prompt.person_id, tables.Prompt.offered
    )
    before = session.scalar(mine.where(_same(prompt, rule.limits.once_per)))
    if before is not None:
        raise _No(Reason.ALREADY_PROMPTED, f"prompted on {before:%Y-%m-%d %H:%M} (once per {rule.limits.once_per})")
    last = session.scalar(mine) if rule.limits.cool_down else None
    if last is not None and rule.limits.cool_down and last > now() - rule.limits.cool_down:
        raise _No(Reason.COOLING_DOWN, f"prompted on {last:%Y-%m-%d %H:%M}, less than {rule.limits.cool_down} ago")
    within = rule.limits.skip_if_completed_within
    done = session.scalar(_completed(prompt)) if within else None
    if done is not None and within and done > now() - within:
        raise _No(Reason.ALREADY_COMPLETED, f"completed on {done:%Y-%m-%d %H:%M}")


def _same(prompt: tables.Prompt, once_per: OncePer) -> ColumnElement[bool]:
    if once_per is OncePer.PERSON:
        return tables.Prompt.person_id == prompt.person_id
    if once_per is OncePer.OBJECT and prompt.subject:
        return tables.Prompt.subject == prompt.subject
    return tables.Prompt.event_id == prompt.event_id


def _completed(prompt: tables.Prompt) -> Select[Any]:
    return select(func.max(tables.Launch.completed_at)).where(
        tables.Launch.person_id == prompt.person_id,
        tables.Launch.asset_id == prompt.asset_id,
        tables.Launch.success.is_not(False),
    )


def _say(rule: Rule, facts: Mapping[str, Any], person: tables.Person, asset: tables.Asset) -> str:
    shown = {"title": asset.title, "kind": asset.kind, "summary": asset.summary}
    try:
        return templates.render(rule.say, event=facts, person=person_facts(person), asset=shown)
    except templates.TemplateError as error:
        raise _No(Reason.TEMPLATE_FAILED, f"say: {error}") from None


def _unmatched(
    prompt: tables.Prompt, event: tables.Event, ref: Mapping[str, str], candidates: list[Any]
) -> tables.Unmatched:
    return tables.Unmatched(
        prompt_id=prompt.id,
        issuer=event.connection.name,
        account_id=ref.get("id", ""),
        email=ref.get("email", ""),
        candidates=candidates,
    )


def _delivery(prompt_id: uuid.UUID, channel: str) -> tables.Delivery:
    return tables.Delivery(id=ids.delivery_id(prompt_id, channel), prompt_id=prompt_id, channel=channel)
