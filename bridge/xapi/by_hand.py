"""Statements made by hand, as objects of tincan: written exactly, and read back.

tincan's model is known to many, and it neither checks nor keeps what a statement says: it takes an agent without an
identifier, writes invalid durations, drops nulls of extensions, and fails on ids and properties that it does not know.
So what it built is written here, and checked; and what it is to read is prepared for it. The hot path uses none of it
(``bridge.xapi.statements``).
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import tincan
from tincan.conversions.iso8601 import jsonify_timedelta
from tincan.serializable_base import SerializableBase

from bridge.store import now
from bridge.xapi import profile
from bridge.xapi.index import moment
from bridge.xapi.validation import InvalidStatement, Version, loads, validate

Json = dict[str, Any]

#: What each LRS says by itself; tincan would name the version of xAPI that it was written for.
_OF_THE_LRS = ("stored", "authority", "version")
#: Properties that tincan calls otherwise.
_NAMES: Mapping[str, str] = {
    "more_info": "moreInfo",
    "interaction_type": "interactionType",
    "correct_responses_pattern": "correctResponsesPattern",
    "object_type": "objectType",
    "usage_type": "usageType",
    "content_type": "contentType",
    "fileurl": "fileUrl",
    "context_activities": "contextActivities",
    "home_page": "homePage",
}
#: What came with xAPI 2.0 and tincan has no place for.
_NEW = ("contextAgents", "contextGroups")
#: Years and months have no length: tincan would make 365 and 30 days of them.
_has_no_length = re.compile(r"P[^T]*[YM]").match


# Writing


def from_tincan(statement: tincan.Statement, version: Version = Version.V1_0_3) -> bytes:
    """A statement as the ledger takes it (``bridge.xapi.ledger.add``); raises InvalidStatement with path and rule.

    Without an id it gets a random one, so give it one where the same fact may be stated twice; without a timestamp it
    is of now. What each LRS says by itself (``stored``, ``authority``, ``version``) is left out.
    """
    said = _said(statement, "")
    assert isinstance(said, dict)
    said = {name: value for name, value in said.items() if name not in _OF_THE_LRS}
    payload = _dumped({"id": str(uuid.uuid4()), **said, "timestamp": said.get("timestamp") or _time(now(), "")})
    checked = loads(payload)
    validate(checked, version)
    assert isinstance(checked, dict)
    _check_attachments(checked)
    return payload


def _said(value: Any, path: str) -> Any:
    """What an object of tincan says, as JSON has it."""
    if isinstance(value, dict):  # extensions and language maps: everything in them counts, also a null
        return dict(value)
    if isinstance(value, list):
        return [_said(one, f"{path}[{place}]") for place, one in enumerate(value)]
    if isinstance(value, SerializableBase):
        parts = {_name(name): part for name, part in vars(value).items() if part is not None}
        return {name: _said(part, f"{path}.{name}".lstrip(".")) for name, part in parts.items()}
    return _plain(value, path)


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, dt.datetime):
        return _time(value, path)
    if isinstance(value, dt.timedelta):
        return _duration(value, path)
    if isinstance(value, float) and value.is_integer():  # tincan makes 90.0 of a score of 90
        return int(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def _name(attribute: str) -> str:
    plain = attribute.removeprefix("_")
    return _NAMES.get(plain, plain)


def _time(at: dt.datetime, path: str) -> str:
    if at.tzinfo is None:
        raise InvalidStatement(path, "must say its zone: give the datetime a tzinfo, such as datetime.UTC")
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _duration(length: dt.timedelta, path: str) -> str:
    if length < dt.timedelta(0):
        raise InvalidStatement(path, "must not be negative")
    return str(jsonify_timedelta(length))


def _dumped(said: Json) -> bytes:
    try:
        return orjson.dumps(said)
    except orjson.JSONEncodeError as error:
        raise InvalidStatement("", f"holds something that JSON can't hold: {error}") from None


def _check_attachments(statement: Json) -> None:
    target = statement["object"]
    inner = target.get("attachments", ()) if target.get("objectType") == "SubStatement" else ()
    for attachment in (*statement.get("attachments", ()), *inner):
        if "fileUrl" not in attachment:
            raise InvalidStatement(
                "attachments", "each needs a fileUrl: a statement made by hand brings no content along"
            )


# Reading


def to_tincan(payload: bytes) -> tincan.Statement:
    """A statement of xAPI 1.0.3 or 2.0 as an object of tincan; raises InvalidStatement for what is none.

    tincan can't hold all of it: see ``left_out``. It is for looking at, not for sending again: an LRS would take what
    tincan writes for another statement.
    """
    return tincan.Statement(_prepared(_read(payload)))


def left_out(payload: bytes) -> list[str]:
    """The paths of what ``to_tincan`` leaves out.

    Agents and groups of a context of xAPI 2.0, durations of years or months, and the result of a SubStatement.
    """
    return list(_lost(_read(payload), ""))


def _lost(statement: Json, path: str) -> Iterator[str]:
    yield from (f"{path}context.{name}" for name in _NEW if name in statement.get("context", {}))
    if _has_no_length(statement.get("result", {}).get("duration", "")):
        yield f"{path}result.duration"
    if statement["object"].get("objectType") == "SubStatement":
        if "result" in statement["object"]:
            yield f"{path}object.result"
        yield from _lost({**statement["object"], "result": {}}, f"{path}object.")


def _read(payload: bytes) -> Json:
    statement = loads(payload)
    try:
        validate(statement, Version.V1_0_3)
    except InvalidStatement:
        validate(statement, Version.V2_0_0)
    assert isinstance(statement, dict)
    return statement


def _prepared(statement: Json) -> Json:
    """A statement, or SubStatement, with objects where tincan would misread what JSON has."""
    made = {**statement, "actor": _party(statement["actor"]), "object": _target(statement["object"])}
    for name in ("timestamp", "stored"):
        if name in made:
            made[name] = moment(made[name])
    if "id" in made:
        made["id"] = uuid.UUID(made["id"])
    if "authority" in made:
        made["authority"] = _party(made["authority"])
    if "context" in made:
        made["context"] = _context(made["context"])
    if _has_no_length(made.get("result", {}).get("duration", "")):
        made["result"] = {name: value for name, value in made["result"].items() if name != "duration"}
    return made


def _party(actor: Json) -> tincan.Agent:
    return tincan.Group(actor) if actor.get("objectType") == "Group" else tincan.Agent(actor)


def _target(target: Json) -> Any:
    kind = target.get("objectType", "Activity")
    if kind in ("Agent", "Group"):
        return _party(target)
    if kind == "SubStatement":
        return tincan.SubStatement({name: value for name, value in _prepared(target).items() if name != "result"})
    return _reference(target) if kind == "StatementRef" else tincan.Activity(target)


def _reference(target: Json) -> tincan.StatementRef:
    return tincan.StatementRef(id=uuid.UUID(target["id"]))


def _context(context: Json) -> tincan.Context:
    made = {name: value for name, value in context.items() if name not in _NEW}
    for name, read in (
        ("instructor", _party),
        ("team", _party),
        ("statement", _reference),
        ("registration", uuid.UUID),
    ):
        if name in made:
            made[name] = read(made[name])
    return tincan.Context(made)


# Voiding


def voiding(voided: Json, *, of: uuid.UUID, issuer: str, reason: str, at: dt.datetime) -> tincan.Statement:
    """The statement with the id ``of`` by which the bridge at ``issuer`` voids one of its own (xAPI-Data 2.3.2)."""
    category = {"id": profile.VERSION, "definition": {"type": profile.PROFILE_TYPE}}
    return tincan.Statement(
        id=of,
        actor=tincan.Agent(account=tincan.AgentAccount(home_page=issuer, name="flowbridge")),
        verb=tincan.Verb(id=profile.VOIDED),
        object=tincan.StatementRef(id=uuid.UUID(voided["id"])),
        context=tincan.Context(
            registration=uuid.UUID(voided["context"]["registration"]),
            context_activities=tincan.ContextActivities(category=[category]),
            extensions=tincan.Extensions({profile.REASON: reason}),
        ),
        timestamp=at,
    )
