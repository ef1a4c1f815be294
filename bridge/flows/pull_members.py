"""Pull: who is in the courses at which the bridge is placed, so that their completions find the gradebook."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session, joinedload

from bridge.connect import ConnectorError, Retryable
from bridge.flows import lms_people, push_grades
from bridge.flows.connection_problem import forget_problem, note_problem
from bridge.flows.runtime import Runtime
from bridge.lti.errors import LtiError
from bridge.lti.tool.platforms import Platform
from bridge.lti.tool.services import LinkRefused, Member, Services
from bridge.observe import logger
from bridge.store import now, tables
from bridge.store.insert import insert_into

#: How often a course is asked who is in it, and how long after a failure it is asked again.
EVERY, AFTER_FAILURE = dt.timedelta(hours=24), dt.timedelta(hours=1)
#: While a course is asked nobody else asks it: longer than a page may take, and moved on with each page.
_TURN = dt.timedelta(minutes=10)
_SOONEST = dt.timedelta(minutes=1)
BATCH = 20


def pull(runtime: Runtime) -> int:
    """Ask for the members of up to a batch of due links; returns how many lists came to their end."""
    count = 0
    for _ in range(BATCH):
        link = _take(runtime)
        if link is None:
            break
        count += _walk(runtime, link)
    return count


def _take(runtime: Runtime) -> tables.LmsLink | None:
    """The link that is due for the longest, which is nobody else's for a turn."""
    link = tables.LmsLink
    due = select(link.id).join(tables.Connection).where(link.members_due_at <= now(), tables.Connection.enabled)
    due = due.order_by(link.members_due_at).limit(1).with_for_update(of=link, skip_locked=True)
    with runtime.db.write() as session:
        taken = session.scalar(due)
        if taken is None:
            return None
        _due(session, taken, now() + _TURN)
        return session.get_one(link, taken, options=[joinedload(link.connection)])


def _walk(runtime: Runtime, link: tables.LmsLink) -> bool:
    """Keep a course's list page by page; whoever is not on it any more is active no longer, once it is complete."""
    began = now()
    try:
        platform = Platform.of(link.connection)
        for page in Services(runtime, platform).members(link.memberships):
            with runtime.db.write() as session:
                _keep(session, platform, link, page)
                _due(session, link.id, now() + _TURN)
    except Exception as error:
        _put_off(runtime, link, error)
        return False
    with runtime.db.write() as session:
        _leave_out(session, link, began)
        _rest(session, link, began)
        push_grades.catch_up(session, link.connection_id, link.context_id, began - 2 * EVERY)
    runtime.nudge("grades")
    forget_problem(runtime, link.connection)
    return True


def _keep(session: Session, platform: Platform, link: tables.LmsLink, page: Sequence[Member]) -> None:
    member = tables.LmsMember
    # In one order, so that two lists with the same people on them wait for each other, and never in a circle.
    for row in sorted({row.subject: row for row in page}.values(), key=lambda row: row.subject):
        lms_people.account_owner(session, platform, row.subject, **row.told)
        seen = {"roles": list(row.roles), "active": row.active, "seen_at": now()}
        insert = insert_into(session, member).values(
            connection_id=link.connection_id, context_id=link.context_id, subject=row.subject, **seen
        )
        key = [member.connection_id, member.context_id, member.subject]
        session.execute(insert.on_conflict_do_update(index_elements=key, set_=seen))


def _leave_out(session: Session, link: tables.LmsLink, began: dt.datetime) -> None:
    member = tables.LmsMember
    here = and_(member.connection_id == link.connection_id, member.context_id == link.context_id)
    session.execute(update(member).where(here, member.seen_at < began, member.active).values(active=False))


def _put_off(runtime: Runtime, link: tables.LmsLink, error: Exception) -> None:
    wait, name = AFTER_FAILURE, link.connection.name
    if isinstance(error, Retryable):
        wait = dt.timedelta(seconds=error.retry_after) if error.retry_after is not None else wait
    elif isinstance(error, ConnectorError | LtiError):
        wait = EVERY if isinstance(error, LinkRefused) else wait
        note_problem(runtime, link.connection_id, f"the members of '{link.context_title}' can't be read: {error}")
    else:  # a fault of the bridge's own in one list must not keep the others waiting
        logger("members").error("a list of members could not be kept", connection=name, exc_info=error)
    logger("members").warning("members not read", connection=name, context=link.context_id, problem=str(error))
    wait = max(min(wait, EVERY), _SOONEST)
    with runtime.db.write() as session:
        _due(session, link.id, now() + wait)


def _rest(session: Session, done: tables.LmsLink, began: dt.datetime) -> None:
    """The list was the course's, so that its other links need not ask for it, but for those that came meanwhile."""
    link = tables.LmsLink
    same = and_(link.connection_id == done.connection_id, link.memberships == done.memberships)
    known = or_(link.id == done.id, link.launched_at < began)
    session.execute(update(link).where(same, known).values(members_due_at=now() + EVERY))


def _due(session: Session, link_id: int, at: dt.datetime) -> None:
    session.execute(update(tables.LmsLink).where(tables.LmsLink.id == link_id).values(members_due_at=at))
