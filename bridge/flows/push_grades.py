"""Push: what somebody has done becomes a grade wherever an LMS's author placed the asset in a course of theirs.

One row for each link and person holds the newest outcome that the LMS's gradebook has to show. A lease lets one worker
at a time send it, and the outcome's id fences the verdict: one that came meanwhile is sent next, and never lost.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from sqlalchemy import and_, delete, exists, select, update
from sqlalchemy.orm import Session, joinedload

from bridge.connect import ConfigError, ConnectorError, Rejected, Retryable
from bridge.flows.connection_problem import forget_problem, note_problem
from bridge.flows.runtime import Runtime
from bridge.lti.errors import LtiError
from bridge.lti.tool.platforms import Platform
from bridge.lti.tool.services import MAXIMUM, LinkRefused, Result, Score, Services
from bridge.lti.vocabulary import LINE_ITEM, RESULT_READ, SCORE
from bridge.observe import logger
from bridge.store import now, queue, tables
from bridge.store.insert import insert_once

BATCH = 20
#: Longer than the calls that one grade may take: tokens, its line item, the score, the comparison, the score again.
LEASE_SECONDS = 300
#: How long what waits for an admin waits before it is tried again, in seconds.
CONFIG_RETRY_SECONDS = SWITCHED_OFF_SECONDS = 300
#: A line item is made by one worker; the others come back after so many seconds, or when that one must have died.
_MAKING_SECONDS, _OTHERS_WAIT = 120, 2.0
#: Grades are kept with five decimals of a hundred.
_SAME = 1e-6
_STANDS = "the LMS has a later grade, which stands"
_ROW = tables.LmsGrade


class _BeingMade(Retryable):
    """Another worker is at the link's line item: no fault of the LMS."""


def enqueue(session: Session, outcome: tables.Outcome) -> int:
    """Queue an outcome for every gradebook that has to show it; returns how many. Writes in the caller's transaction.

    It goes to each link at which its asset is placed in a course that the person is a member of. An outcome that
    happened before the one which is kept there changes nothing.
    """
    if not outcome.completed and outcome.score is None:
        return 0
    count = 0
    for link, subject, roles in session.execute(_places(outcome.launch)):
        if _takes_scores(link) and _is_graded(roles):
            _put(session, link.id, subject, outcome)
            count += 1
    return count


def catch_up(session: Session, connection_id: int, context_id: str, since: dt.datetime) -> None:
    """Queue what members of a course have done since then, before it was known that they are in it."""
    link, launch, outcome = tables.LmsLink, tables.Launch, tables.Outcome
    has_one = exists().where(_ROW.link_id == link.id, _ROW.subject == tables.LmsMember.subject)
    missed = (
        _members(select(outcome.id))
        .join(launch, and_(launch.asset_id == link.asset_id, launch.person_id == tables.Account.person_id))
        .join(outcome, and_(outcome.launch_id == launch.id, outcome.occurred_at >= since))
        .where(link.connection_id == connection_id, link.context_id == context_id, ~has_one)
    )
    for row in session.scalars(select(outcome).where(outcome.id.in_(missed)).order_by(outcome.occurred_at)):
        enqueue(session, row)


def _places(launch: tables.Launch) -> Any:
    link, member = tables.LmsLink, tables.LmsMember
    mine = and_(link.asset_id == launch.asset_id, tables.Account.person_id == launch.person_id)
    return _members(select(link, member.subject, member.roles)).where(mine).order_by(link.id)


def _members(query: Any) -> Any:
    """The query over links, the members of their courses, and the accounts that these are."""
    account, connection, link, member = tables.Account, tables.Connection, tables.LmsLink, tables.LmsMember
    there = and_(member.connection_id == link.connection_id, member.context_id == link.context_id, member.active)
    theirs = and_(account.issuer == connection.name, account.subject == member.subject)
    return (
        query.select_from(link)
        .join(connection, connection.id == link.connection_id)
        .join(member, there)
        .join(account, theirs)
    )


def _takes_scores(link: tables.LmsLink) -> bool:
    may_make_one = bool(link.line_items) and LINE_ITEM in link.scopes
    return SCORE in link.scopes and (bool(link.line_item) or may_make_one)


def _is_graded(roles: list[str]) -> bool:
    """Who teaches has no grade, and the LMS would refuse one; somebody without any role may be a learner."""
    return not roles or any("Learner" in role for role in roles)


def _put(session: Session, link_id: int, subject: str, outcome: tables.Outcome) -> None:
    if insert_once(session, _ROW, link_id=link_id, subject=subject, outcome_id=outcome.id):
        return
    # Locked first and compared then: one statement would compare with the outcomes that it saw before it waited.
    row = session.get_one(_ROW, (link_id, subject), with_for_update=True, populate_existing=True)
    if row.outcome_id == outcome.id or row.outcome.occurred_at > outcome.occurred_at:
        return
    row.outcome, row.state, row.error, row.attempts = outcome, "waiting", None, 0
    # What is on its way, or was asked to wait, keeps its time: it is the same gradebook.
    row.due_at = max(row.due_at or now(), now())
    session.flush()


def again(session: Session, link_id: int) -> None:
    """A flagged link works again: what its problem held up is sent. Writes in the caller's transaction."""
    link = session.get_one(tables.LmsLink, link_id, with_for_update=True)
    held_up = and_(_ROW.link_id == link_id, _ROW.state == "failed", _ROW.error == link.problem)
    session.execute(update(_ROW).where(held_up).values(state="waiting", due_at=now(), lease=None, attempts=0))
    link.problem = None


def push(runtime: Runtime) -> int:
    """Send up to a batch of waiting grades into their LMSs; returns how many were claimed."""
    with runtime.db.write() as session:
        token, rows = queue.claim(session, _ROW, limit=BATCH, lease_seconds=LEASE_SECONDS)
        waiting = [(row.link_id, row.subject) for row in rows]
    silent: dict[int, Retryable] = {}
    for key in waiting:
        _Grade(runtime, key, token).send(silent)
    return len(waiting)


@dataclasses.dataclass(frozen=True, slots=True)
class _Grade:
    """One claimed row."""

    runtime: Runtime
    key: tuple[int, str]
    token: str

    def send(self, silent: dict[int, Retryable]) -> None:
        """Send it and settle it; ``silent`` are the LMSs that did not answer those before it."""
        row = self._renewed()
        if row is None:
            return  # those before it took so long that it is somebody else's by now
        connection = row.link.connection
        try:
            if connection.id in silent:
                raise silent[connection.id]
            note = self._sent(row)
        except Retryable as error:
            if not isinstance(error, _BeingMade):
                silent.setdefault(connection.id, error)
            self._settle(row, _later(row, error, error.retry_after))
        except (ConfigError, LtiError) as error:
            note_problem(self.runtime, connection.id, str(error))
            self._settle(row, _later(row, error, CONFIG_RETRY_SECONDS))
        except ConnectorError as error:
            if isinstance(error, LinkRefused):
                self._flag(str(error))
            self._settle(row, {"state": "failed", "due_at": None, "error": str(error)})
        except Exception as error:
            # A fault of the bridge's own in one grade must not keep the others waiting.
            logger("grades").exception("a grade could not be sent", connection=connection.name)
            self._settle(row, _later(row, f"it could not be sent ({type(error).__name__}); see the log", None))
        else:
            forget_problem(self.runtime, connection)
            self._settle(row, {"state": "recorded", "due_at": None, "error": None, "receipt": note})

    def _sent(self, row: tables.LmsGrade) -> dict[str, Any]:
        """What the receipt says once the gradebook has it."""
        link, connection = row.link, row.link.connection
        if not connection.enabled:
            raise Retryable(f"the connection '{connection.name}' is switched off", retry_after=SWITCHED_OFF_SECONDS)
        if link.problem:
            raise Rejected(link.problem)
        services = Services(self.runtime, Platform.of(connection))
        line_item = link.line_item or self._line_item(services, link)
        score = score_of(row.outcome, row.subject)
        said = _delivered(services, row, line_item, score)
        return {"score": score.points, "of": MAXIMUM, "line_item": line_item, **({"note": said} if said else {})}

    def _line_item(self, services: Services, link: tables.LmsLink) -> str:
        """The link's own line item, found or made by one worker at a time."""
        making = {"issuer": "lms-line-item", "token": str(link.id)}
        until = now() + dt.timedelta(seconds=_MAKING_SECONDS)
        used = tables.UsedToken
        mine = and_(used.issuer == making["issuer"], used.token == making["token"])
        with self.runtime.db.write() as session:
            session.execute(delete(used).where(mine, used.expires_at <= now()))
            if not insert_once(session, used, **making, expires_at=until):
                raise _BeingMade("its line item is being made", retry_after=_OTHERS_WAIT)
        try:
            label = link.asset.title.strip() if link.asset else link.title
            found = services.line_item(link.line_items, link.resource_link_id, label, str(link.asset_id))
            with self.runtime.db.write() as session:
                session.execute(update(tables.LmsLink).where(tables.LmsLink.id == link.id).values(line_item=found))
        finally:
            with self.runtime.db.write() as session:
                session.execute(delete(used).where(mine))
        return found

    def _renewed(self) -> tables.LmsGrade | None:
        """The row with all that it needs, under a lease that begins now; None when it is not ours any more."""
        until = now() + dt.timedelta(seconds=LEASE_SECONDS)
        with self.runtime.db.write() as session:
            mine = update(_ROW).where(self._is_it, queue.held(_ROW, self.token)).values(due_at=until)
            if session.execute(mine.returning(_ROW.link_id)).first() is None:
                return None
            link = joinedload(_ROW.link)
            loaded = (
                link.joinedload(tables.LmsLink.connection),
                link.joinedload(tables.LmsLink.asset),
                joinedload(_ROW.outcome).joinedload(tables.Outcome.launch),
            )
            return session.get_one(_ROW, self.key, options=loaded, populate_existing=True)

    def _settle(self, row: tables.LmsGrade, verdict: dict[str, Any]) -> None:
        """Note what came of it; where a newer outcome has taken its place, give that one free instead."""
        this = and_(self._is_it, _ROW.outcome_id == row.outcome_id)
        if verdict.get("state") != "recorded":
            this &= queue.held(_ROW, self.token)
        with self.runtime.db.write() as session:
            done = session.execute(update(_ROW).where(this).values(lease=None, **verdict).returning(_ROW.link_id))
            if done.first() is None:
                newer = update(_ROW).where(self._is_it, queue.held(_ROW, self.token))
                session.execute(newer.values(due_at=verdict["due_at"] or now(), lease=None))

    def _flag(self, problem: str) -> None:
        link = tables.LmsLink
        with self.runtime.db.write() as session:
            session.execute(update(link).where(link.id == self.key[0]).values(problem=problem))

    @property
    def _is_it(self) -> Any:
        return and_(_ROW.link_id == self.key[0], _ROW.subject == self.key[1])


def score_of(outcome: tables.Outcome, subject: str) -> Score:
    """An outcome as a grade: its score, else the launch's; without any, all for a completion and nothing for a fail."""
    share = outcome.score if outcome.score is not None else outcome.launch.score
    if share is None:
        share = 0.0 if outcome.success is False else 1.0
    return Score(subject, round(share * MAXIMUM, 5), outcome.completed)


def _delivered(services: Services, row: tables.LmsGrade, line_item: str, score: Score) -> str:
    """Send a score; returns "", or what is to be said where the LMS has a later one (AGS 2.0 section 3.4.9).

    An LMS compares the time of sending with its own last write, so a conflict may be a repeat of a score that arrived,
    clocks that differ, or a grade that somebody gave by hand.
    """
    if services.put_score(line_item, score, now()):
        return ""
    if RESULT_READ not in row.link.scopes:
        return _STANDS
    has = services.result_of(line_item, score.subject)
    if has is not None and _same(has, score.points):
        return "the LMS had it already"
    if has is not None and not _is_older(has, row):
        return _STANDS
    at = now() if has is None or has.at is None else max(now(), has.at + dt.timedelta(seconds=1))
    return "" if services.put_score(line_item, score, at) else _STANDS


def _is_older(has: Result, row: tables.LmsGrade) -> bool:
    """Is it from before the outcome, or the last that was sent from here?"""
    last = (row.receipt or {}).get("score")
    return (last is not None and _same(has, last)) or (has.at is not None and has.at < row.outcome.occurred_at)


def _same(has: Result, points: float) -> bool:
    return abs(has.share - points / MAXIMUM) < _SAME


def _later(row: tables.LmsGrade, error: object, wait: float | None) -> dict[str, Any]:
    return {"due_at": queue.back_off(row.attempts, retry_after=wait), "error": str(error)}
