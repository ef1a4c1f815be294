"""Resolve: an admin says who a person is whom an event names and nobody could tell for sure."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.flows import decide_prompts
from bridge.flows.errors import NotFound, Refused
from bridge.flows.overview.attention import same_account
from bridge.flows.runtime import Runtime
from bridge.store import now, tables


@dataclasses.dataclass(frozen=True, slots=True)
class Resolved:
    """What came of it: how many entries of the queue were settled and how many prompts were made.

    ``settled`` is 0 where somebody had answered before, and then nothing changed. ``account_added`` says that the
    system's account belongs to the person from now on.
    """

    settled: int
    offered: int = 0
    account_added: bool = False


def resolve(runtime: Runtime, prompt_id: uuid.UUID, person_key: str, *, actor: str) -> Resolved:
    """Settle an entry of the queue: it is this person, or with "" nobody whom prompts are for.

    The account becomes the person's own, and every decision that waited for it is made again as if the person had been
    known. Where the system gave only an address, the answer counts for that one decision: an address is no account, so
    nothing is learned from it. Raises NotFound, and Refused where the answer contradicts what is known.
    """
    with runtime.db.write() as session:
        first = session.get(tables.Unmatched, prompt_id)
        if first is None:
            raise NotFound("nobody waits under that id")
        person = _person(session, person_key) if person_key else None
        # All are locked in one order, so that two admins who answer at once wait for each other, and never in a circle.
        waiting = same_account(session, first, lock=True)
        if first not in waiting:
            return Resolved(settled=0)
        added = _own_account(session, first, person) if person and first.account_id else False
        offered = _settle(session, waiting, person)
        session.add(_audit(first, person, actor, len(waiting), account_added=added))
    if offered:
        runtime.nudge("deliver")
    return Resolved(len(waiting), offered, added)


def _person(session: Session, key: str) -> tables.Person:
    person = session.scalar(select(tables.Person).where(tables.Person.key == key))
    if person is None:
        raise NotFound(f"there is no person '{key}'")
    return person


def _own_account(session: Session, row: tables.Unmatched, person: tables.Person) -> bool:
    """Give the person the account; False where it is theirs already. One person has one account in a system."""
    name, system = person.name or person.key, row.issuer
    owner = session.get(tables.Account, (system, row.account_id))
    if owner is not None:
        if owner.person_id != person.id:
            raise Refused(
                f"The account '{row.account_id}' of '{system}' belongs to {owner.person.name or owner.person.key}"
                " by now; choose that person, or correct the people's YAML first.",
                code="account_taken",
            )
        return False
    other = next((account.subject for account in person.accounts if account.issuer == system), None)
    if other is not None:
        raise Refused(
            f"{name} is known in '{system}' as '{other}' already, and '{row.account_id}' is another account there."
            f" If it was renamed, change it in the people's YAML, apply it, and choose {name} again."
            " Else it is somebody else.",
            code="other_account",
        )
    person.accounts.append(tables.Account(issuer=system, subject=row.account_id))
    session.flush()
    return True


def _settle(session: Session, waiting: Sequence[tables.Unmatched], person: tables.Person | None) -> int:
    offered = 0
    for row in waiting:
        row.resolved_at = now()
        rule = row.prompt.rule
        if person is not None and rule.enabled and rule.removed_at is None:
            offered += decide_prompts.decide_for(session, row.prompt.event, rule, person)
    return offered


def _audit(
    row: tables.Unmatched, person: tables.Person | None, actor: str, settled: int, *, account_added: bool
) -> tables.Audit:
    return tables.Audit(
        actor=actor,
        action="person.resolve",
        subject=person.key if person else "nobody",
        detail={
            "issuer": row.issuer,
            "account": row.account_id,
            "email": row.email,
            "account_added": account_added,
            "decisions": settled,
        },
    )
