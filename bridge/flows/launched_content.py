"""What launched content may say at the LRS, and what its statements mean for the launch.

Content speaks for one actor, about one activity and what is below it, in the registration of its launch, until the
launch is over. What it says is kept with the business context of the launch, and what it says of the activity itself
is what came of the launch (docs/decisions/launched-content.md).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.domain.assets import How, Opening
from bridge.flows import record_outcome
from bridge.flows.callers import Caller, Content, require_alive
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import among
from bridge.xapi import cmi5, ledger, statements
from bridge.xapi.enrich import put_in
from bridge.xapi.ledger import Entry
from bridge.xapi.profile import VERBS, VOIDED
from bridge.xapi.validation import loads
from bridge.xapi.validation.statement import SIGNATURE

Json = dict[str, Any]

#: The queues that are told of what ``note`` has recorded, after the caller's transaction.
TOLD_BY = record_outcome.TOLD_BY
_OUTCOMES = {VERBS[verb]: verb for verb in ("completed", "passed", "failed")}
#: What the bridge's statements say of a launch that those of its content shall say too; language is the content's own.
_BUSINESS = ("registration", "contextActivities", "platform", "extensions")


def admit(runtime: Runtime, session: Session, caller: Caller, entries: Sequence[Entry]) -> list[Entry]:
    """The statements of launched content as they are kept: with the business context of its launch.

    Raises Refused where one speaks for somebody else, about something else or in another registration, or where the
    launch has ended. Called in the transaction that stores them, before it does.
    """
    content = _content(caller)
    # The launch first, as everybody does who changes both: nobody waits in a circle.
    launch = session.get_one(tables.Launch, content.launch_id, with_for_update=True)
    live = session.get(tables.ContentSession, content.launch_id, with_for_update=True)
    if live is None or live.id != content.session_id:
        raise Refused("this launch was opened anew, and only the newest one can report", code="launch_ended")
    require_alive(live)
    for place, entry in enumerate(entries):
        for problem in _problems(content, launch.how, entry.statement):
            raise Refused(f"statement {place}: {problem}; launched content speaks only for its launch")
    if launch.how == How.CMI5 and any(map(_ends, entries[:-1])):
        raise Refused("statement after terminated: nothing may follow it in its session (cmi5 9.3.8)")
    context = statements.business_context(launch, runtime.settings.issuer, runtime.vault)
    return [_enriched(entry, context) for entry in entries]


def _content(caller: Caller) -> Content:
    assert caller.content is not None, "only launched content is asked about"
    return caller.content


def _problems(content: Content, how: str, statement: Json) -> Iterator[str]:
    """What a statement says that its launch does not allow, with its path."""
    if statement["actor"].get("objectType") == "Group" or ledger.identifier(statement["actor"]) != content.actor:
        yield f"actor must be {content.actor}, as it was handed over"
    context = statement.get("context", {})
    registration = str(content.launch_id)
    if context.get("registration", registration).lower() != registration:
        yield f"context.registration must be {registration}"
    if "registration" not in context and _is_signed(statement):
        yield f"context.registration must be {registration}, and can't be put into a signed statement"
    if not _is_about(content.activity, statement):
        yield (
            f"object must be the activity {content.activity} or one below it, or name it among"
            " context.contextActivities.parent or grouping"
        )
    session_id = context.get("extensions", {}).get(cmi5.SESSION_ID, str(content.session_id))
    if how == How.CMI5 and session_id != str(content.session_id):
        yield f"context.extensions['{cmi5.SESSION_ID}'] must be {content.session_id} (cmi5 9.6.3.1)"


def _is_about(activity: str, statement: Json) -> bool:
    """Is it about the launched activity, or about something that belongs to it?

    That is what its own id lies below, or what names it as parent or grouping, as content does for its slides and
    questions. What a voiding statement may name is said by the LRS: only what the same launch has stated.
    """
    target = statement["object"]
    if target.get("objectType", "Activity") == "Activity" and _is_below(activity, target["id"]):
        return True
    around = statement.get("context", {}).get("contextActivities", {})
    named = [one["id"] for kind in ("parent", "grouping") for one in _listed(around.get(kind, []))]
    return activity in named or statement["verb"]["id"] == VOIDED


def _is_below(activity: str, iri: str) -> bool:
    if iri == activity or not iri.startswith(activity):
        return iri == activity
    return not (activity[-1].isalnum() and iri[len(activity)].isalnum())  # course/12 is not below course/1


def _listed(some: Any) -> list[Json]:
    return some if isinstance(some, list) else [some]  # a single activity stands for a list of it (xAPI-Data 2.4.6.2)


def _is_signed(statement: Json) -> bool:
    return any(attachment["usageType"] == SIGNATURE for attachment in statement.get("attachments", ()))


def _enriched(entry: Entry, context: Json) -> Entry:
    """The statement with what it lacks of the launch's context; a signed one stays as it is."""
    if _is_signed(entry.statement):
        return entry
    addition = {name: context[name] for name in _BUSINESS}
    if entry.statement["object"].get("objectType", "Activity") != "Activity":
        del addition["platform"]  # which is only for activities (xAPI-Data 2.4.6)
    payload = put_in(entry.payload, {"context": addition})
    statement = loads(payload)
    assert isinstance(statement, dict)
    return entry._replace(payload=payload, statement=statement)


def note(runtime: Runtime, session: Session, caller: Caller, entries: Sequence[Entry]) -> None:
    """Record what new statements of launched content say of the launch: completion, success, its end.

    Called in the transaction that has stored them; the caller nudges :data:`TOLD_BY` after it.
    """
    content = _content(caller)
    if not entries:
        return
    row, stored = tables.Statement, [uuid.UUID(entry.statement["id"]) for entry in entries]
    of_launch = update(row).where(among(session.connection(), row.id, stored)).values(launch_id=content.launch_id)
    session.execute(of_launch, execution_options={"synchronize_session": False})
    launch = session.get_one(tables.Launch, content.launch_id)
    for entry in entries:
        verb = _OUTCOMES.get(entry.statement["verb"]["id"])
        if verb is not None and entry.statement["object"].get("id") == content.activity:
            _record(runtime, session, launch, verb, entry.statement)
    if launch.how == How.CMI5 and any(map(_ends, entries)):
        session.get_one(tables.ContentSession, content.launch_id).ended_at = now()


def _ends(entry: Entry) -> bool:
    return bool(entry.statement["verb"]["id"] == cmi5.TERMINATED)


def _record(runtime: Runtime, session: Session, launch: tables.Launch, verb: str, statement: Json) -> None:
    """Make an outcome of what content said of the activity itself; that statement is its proof, and the only one."""
    result = statement.get("result", {})
    judged = {"passed": True, "failed": False}.get(verb, result.get("success"))
    record_outcome.record_in(
        runtime,
        session,
        launch,
        source=launch.how,
        verb=verb,
        completed=_is_completed(session, launch, verb, result),
        success=judged,
        score=_share(result.get("score", {})),
        # A test can be taken again; to be completed is said once.
        occurrence="" if verb == "completed" else statement["id"],
        # Content may set its clock as it likes; that it was launched is known here, and nothing came of that before.
        occurred_at=min(max(_moment(statement), launch.started_at), now()),
        stated=uuid.UUID(statement["id"]),
    )


def _moment(statement: Json) -> dt.datetime:
    return ledger.moment(statement["timestamp"]) if "timestamp" in statement else now()


def _is_completed(session: Session, launch: tables.Launch, verb: str, result: Json) -> bool:
    """Is the asset done with this? Of cmi5 content its course structure says what that takes."""
    if launch.how != How.CMI5:
        return verb in ("completed", "passed") or result.get("completion") is True
    said = set(session.scalars(select(tables.Outcome.verb).where(tables.Outcome.launch_id == launch.id)))
    opening = Opening.from_json(launch.asset.opening or {"how": launch.how})
    return cmi5.is_satisfied(opening.custom.get("move_on", ""), said | {verb})


def _share(score: Json) -> float | None:
    """A score as 0 to 1: as it is scaled, or where raw lies between min (0 without one) and max (xAPI-Data 2.4.5.1)."""
    if "scaled" in score:
        return max(0.0, float(score["scaled"]))
    low, high, raw = score.get("min", 0), score.get("max", 0), score.get("raw")
    if raw is None or high <= low:
        return None
    # As fractions: the largest floats of either sign are infinitely far apart.
    share = (Fraction(raw) - Fraction(low)) / (Fraction(high) - Fraction(low))
    return float(min(Fraction(1), max(Fraction(0), share)))


def admit_document(
    caller: Caller,
    kind: str,
    *,
    activity: str,
    agent: str,
    registration: str,
    document_id: str = "",
    change: bool = False,
) -> None:
    """Raises Refused where launched content asks for a document of somebody or something else.

    ``kind`` is as in ``tables.Document``; ``agent`` is canonical; ``document_id`` is "" where all of a place are meant.
    A credential's scopes are looked at by ``require``. Content writes its own state and its activity's profile; of the
    person's profile only the preferences that cmi5 lets it keep (cmi5 section 11), and never the launch data (10.2.1).
    """
    content = _content(caller)
    if kind != "agent_profile" and activity != content.activity:
        raise Refused(f"activityId must be {content.activity}; launched content keeps documents only for its launch")
    if kind != "activity_profile" and agent != content.actor:
        raise Refused(f"agent must be {content.actor}, as it was handed over; other people's documents are not for it")
    if kind == "state" and registration.lower() != str(content.launch_id):
        raise Refused(f"registration must be {content.launch_id}; launched content keeps state only for its launch")
    if change and kind == "state" and document_id in ("", cmi5.LAUNCH_DATA):
        raise Refused(f"launched content may not change or delete {cmi5.LAUNCH_DATA}: name the document with stateId")
    if change and kind == "agent_profile" and document_id != cmi5.PREFERENCES:
        raise Refused(f"launched content may change only {cmi5.PREFERENCES} of the person's profile")
