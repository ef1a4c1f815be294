"""AGS 2.0 scores and results (https://www.imsglobal.org/spec/lti-ags/v2p0 sections 3.3 and 3.4).

A score is what the tool says, the newest one counts; a result is what a fully graded score makes of it, scaled to the
line item's maximum. What a score means for the launch is a :class:`Verdict`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bridge.lti import fields
from bridge.lti.errors import LtiError
from bridge.lti.platform import line_items, subjects
from bridge.lti.platform.line_items import Gradebook
from bridge.lti.platform.registrations import Tool
from bridge.lti.vocabulary import RESULT_READ, SCORE
from bridge.observe import logger
from bridge.store import now, tables
from bridge.store.tables import Asset, Connection, ContextMember, Event, Launch, LineItem, Prompt

RESULTS_TYPE = "application/vnd.ims.lis.v2.resultcontainer+json"
ACTIVITY = ("Initialized", "Started", "InProgress", "Submitted", "Completed")
GRADING = ("NotReady", "Failed", "Pending", "PendingManual", "FullyGraded")
#: A tool's clock may be ahead by so much.
AHEAD = dt.timedelta(minutes=5)
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
#: The custom parameter, of the asset or of the tool, that holds the share of the maximum needed to pass (0 to 1).
PASSING = "pass_mark"


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """A score as sent; ``given`` of ``maximum`` points, both None where it has none."""

    user_id: str
    timestamp: dt.datetime
    activity: str
    grading: str
    given: float | None
    maximum: float | None
    comment: str

    @property
    def final(self) -> bool:
        return self.grading == "FullyGraded"

    @property
    def share(self) -> float | None:
        """The part of the maximum that was reached: more than 1 with extra credit."""
        return self.scaled(1.0)

    def scaled(self, maximum: float) -> float | None:
        """The points of that maximum; multiplied first, so that 7 of 100 stay 7 of 100."""
        return self.given * maximum / self.maximum if self.given is not None and self.maximum else None

    def to_json(self) -> dict[str, Any]:
        """The form in which it is kept, and compared with the next one."""
        return dataclasses.asdict(self) | {"timestamp": self.timestamp.isoformat()}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a score means for a launch: ``verb`` is progressed, completed, passed or failed; ``score`` is 0..1."""

    launch: Launch
    verb: str
    completed: bool
    success: bool | None
    score: float | None
    occurred_at: dt.datetime
    occurrence: str


def parse(body: bytes) -> Score:
    """Read a score; raises LtiError naming the field that is wrong."""
    sent = fields.json_object(body)
    given = fields.number(sent, "scoreGiven")
    return Score(
        user_id=fields.text(sent, "userId", required=True),
        timestamp=_timestamp(fields.text(sent, "timestamp", required=True)),
        activity=_one_of(sent, "activityProgress", ACTIVITY),
        grading=_one_of(sent, "gradingProgress", GRADING),
        given=given,
        maximum=fields.number(sent, "scoreMaximum", required=given is not None, positive=True),
        comment=fields.text({"comment": _cut(sent.get("comment"))}, "comment"),
    )


def _cut(comment: Any) -> Any:
    return comment.strip()[: fields.LONGEST] if isinstance(comment, str) else comment


def _one_of(sent: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = fields.text(sent, name, required=True)
    if value not in allowed:
        raise fields.invalid(name, f"must be one of {', '.join(allowed)}")
    return value


def _timestamp(value: str) -> dt.datetime:
    """Any ISO 8601 time with a zone, as ``Z``, ``+00:00`` or ``+0000`` (Moodle)."""
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise fields.invalid("timestamp", "must be an ISO 8601 time") from None
    if moment.tzinfo is None:
        raise fields.invalid("timestamp", "must say its zone")
    if not _EARLIEST <= moment <= now() + AHEAD:
        raise fields.invalid("timestamp", "is in the future, or before the year 2000; check the tool's clock")
    return moment.astimezone(dt.UTC)


def put(book: Gradebook, item: str, score: Score) -> Verdict | None:
    """Keep a score in the caller's transaction, and say what it means for a launch; None when it means nothing new.

    The same score again changes nothing. Raises LtiError: 409 for one that is older than what is kept, or of the same
    time with another content; 400 for a user who was never launched here.
    """
    book.access.require(SCORE)
    line_item = book.find(item, lock=True)
    kept = book.session.get(tables.Score, (line_item.id, score.user_id))
    if kept is not None and score.timestamp <= kept.timestamp:
        if kept.body == score.to_json():
            return None
        newest = kept.timestamp.isoformat()
        raise LtiError("score_outdated", f"a score of {newest} is kept already; only newer ones count", status=409)
    launch = _launch(book, line_item, score.user_id)
    _keep(book.session, line_item, kept, score)
    coupled = line_item.asset_id is not None and launch.asset_id == line_item.asset_id
    return _verdict(book.access.tool, line_item, launch, score) if coupled else None


def _keep(session: Session, line_item: LineItem, kept: tables.Score | None, score: Score) -> None:
    row = kept or tables.Score(line_item_id=line_item.id, user_id=score.user_id, result=None)
    row.timestamp, row.body = score.timestamp, score.to_json()
    if score.final:
        row.result = score.scaled(line_item.score_maximum)
    session.add(row)
    session.flush()


def _launch(book: Gradebook, line_item: LineItem, user_id: str) -> Launch:
    """The newest launch of the user for this line item, in its context."""
    tool, vault = book.access.tool, book.host.vault
    member = book.session.get(ContextMember, (tool.connection_id, line_item.context, user_id))
    if member is not None:
        for launch_id, system in book.session.execute(_launches(tool, line_item, member)):
            if subjects.context(vault, tool.client_id, system) == line_item.context:
                return book.session.get_one(Launch, launch_id)
    raise LtiError("user_unknown", "userId names nobody who was launched into this context")


def _launches(tool: Tool, line_item: LineItem, member: ContextMember) -> Select[uuid.UUID, str]:
    query = (
        select(Launch.id, Connection.name)
        .select_from(Launch)
        .join(Launch.prompt)
        .join(Prompt.event)
        .join(Event.connection)
        .where(Launch.person_id == member.person_id, Launch.how == "lti")
        .order_by(Launch.started_at.desc())
    )
    if line_item.asset_id is not None:
        return query.where(Launch.asset_id == line_item.asset_id)
    opened_by = Asset.opening["tool"].as_string() == tool.name
    return query.join(Launch.asset).where(opened_by | (Asset.connection_id == tool.connection_id))


def _verdict(tool: Tool, line_item: LineItem, launch: Launch, score: Score) -> Verdict | None:
    """Submitted and completed work is completed; a pass mark makes a final score passed or failed.

    Without a pass mark nobody can say whether a score is enough, so that it is reported without a judgement.
    """
    if score.activity == "Initialized" and not score.final:
        return None
    completed = score.activity in ("Submitted", "Completed")
    share = min(score.share, 1.0) if score.final and score.share is not None else None
    mark = _pass_mark(tool, launch.asset)
    success = share >= mark if share is not None and mark is not None else None
    judged = "passed" if success else "failed"
    return Verdict(
        launch=launch,
        verb=judged if success is not None else "completed" if completed else "progressed",
        completed=completed,
        success=success,
        score=share,
        occurred_at=score.timestamp,
        occurrence=f"{line_item.id}/{score.timestamp.isoformat()}",
    )


def _pass_mark(tool: Tool, asset: Asset) -> float | None:
    text = {**tool.custom, **(asset.opening or {}).get("custom", {})}.get(PASSING)
    try:
        return float(text) if text is not None else None
    except ValueError:
        logger("lti").warning("the pass mark is not a number", asset=asset.external_id, tool=tool.name)
        return None


def results(book: Gradebook, item: str, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
    """One page of the results of a line item, of all users or of ``user_id``; and the address of the next page."""
    book.access.require(RESULT_READ)
    line_item, limit = book.find(item), fields.limit(query)
    base = line_items.url(book.host, book.context, line_item.id)
    wanted = select(tables.Score).where(tables.Score.line_item_id == line_item.id, tables.Score.result.is_not(None))
    if query.get("user_id"):
        wanted = wanted.where(tables.Score.user_id == fields.storable(query["user_id"], "user_id"))
    if query.get("after"):
        wanted = wanted.where(tables.Score.user_id > fields.storable(query["after"], "after"))
    rows = book.session.scalars(wanted.order_by(tables.Score.user_id).limit(limit + 1)).all()
    following = None
    if len(rows) > limit:
        following = f"{base}/results?{urlencode({'limit': limit, 'after': rows[limit - 1].user_id})}"
    return [_result(base, line_item, row) for row in rows[:limit]], following


def _result(base: str, line_item: LineItem, row: tables.Score) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": f"{base}/results?{urlencode({'user_id': row.user_id})}",
        "scoreOf": base,
        "userId": row.user_id,
        "resultScore": fields.shown(row.result or 0.0),
        "resultMaximum": fields.shown(line_item.score_maximum),
        "timestamp": row.timestamp.isoformat(),
    }
    comment = row.body.get("comment") if row.body.get("grading") == "FullyGraded" else ""
    return shown | ({"comment": comment} if comment else {})
