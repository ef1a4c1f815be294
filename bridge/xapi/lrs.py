"""What the built-in LRS makes of requests and rows, for xAPI 1.0.3 and 2.0 alike: no HTTP, no transactions.

Received statements are kept as the bytes they came in. What an LRS adds (``id``, ``timestamp``, ``stored``,
``authority``, ``version``) is put beside those bytes on the way out, so that no number or text is ever written anew.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, or_, select, tuple_

from bridge.store import tables
from bridge.xapi import ledger
from bridge.xapi.ledger import Entry, Json, moment
from bridge.xapi.validation import InvalidStatement, Version, loads, validate, validate_batch
from bridge.xapi.validation.formats import is_iri, is_iso_8601, is_uuid

#: The most statements that one answer lists; a query without a limit, or with 0, gets as many.
MOST = 100

_GET = "xAPI-Communication 2.1.3"
_scan = json.JSONDecoder().raw_decode
_blank = re.compile(r"[ \t\r\n]*")


def negotiated(header: str | None) -> Version:
    """The version that a request's X-Experience-API-Version asks for (xAPI-Communication 3.3)."""
    if header is not None and re.fullmatch(r"1\.0(\.\d+)?", header):
        return Version.V1_0_3
    if header is not None and re.fullmatch(r"2\.0(\.\d+)?", header):
        return Version.V2_0_0
    rule = "must be sent, and be 1.0.x or 2.0.x (xAPI-Communication 3.3)"
    raise InvalidStatement("X-Experience-API-Version", rule)


# Reading requests


def read_batch(body: bytes, version: Version) -> list[Entry]:
    """The statements of a POST, each with its own bytes of the body; those without an id are given one."""
    batch = loads(body)
    statements = validate_batch(batch, version)
    text = body.decode()
    payloads = _items(text) if isinstance(batch, list) else [text.strip()]
    for place, statement in enumerate(statements):
        _check_attachments(statement, f"[{place}]." if isinstance(batch, list) else "")
    return [_entry(payload, statement) for payload, statement in zip(payloads, statements, strict=True)]


def read_one(body: bytes, version: Version, statement_id: str | None) -> Entry:
    """The statement of a PUT, which stands under ``statementId`` (xAPI-Communication 2.1.1)."""
    if statement_id is None or not is_uuid(statement_id):
        raise InvalidStatement("statementId", "must be given, and be a UUID (xAPI-Communication 2.1.1)")
    statement = loads(body)
    validate(statement, version)
    assert isinstance(statement, dict)
    _check_attachments(statement)
    if statement.get("id", statement_id).lower() != statement_id.lower():
        raise InvalidStatement("id", "must be the statementId of the request (xAPI-Communication 2.1.1)")
    return _entry(body.decode().strip(), {"id": statement_id, **statement})


def _check_attachments(statement: Json, path: str = "") -> None:
    """A request of JSON alone brings no attachments: each must be found at its ``fileUrl``."""
    for place, attachment in enumerate(statement.get("attachments", ())):
        if "fileUrl" not in attachment:
            rule = "is required, because the attachment itself was not sent (xAPI-Communication 1.5.1)"
            raise InvalidStatement(f"{path}attachments[{place}].fileUrl", rule)
    if statement["object"].get("objectType") == "SubStatement":
        _check_attachments(statement["object"], f"{path}object.")


def _entry(payload: str, statement: Json) -> Entry:
    return Entry(payload.encode(), {"id": str(uuid.uuid4()), **statement})


def _items(text: str) -> list[str]:
    """The items of a JSON array that is known to be well-formed, each as its own piece of the text."""
    items, at = [], _skip(text, text.index("[") + 1)
    while True:
        _, end = _scan(text, at)
        items.append(text[at:end])
        at = _skip(text, end)
        if text[at] != ",":
            return items
        at = _skip(text, at + 1)


def _members(text: str) -> dict[str, str]:
    """The properties of a JSON object that is known to be well-formed, each value as its own piece of the text."""
    members, at = {}, _skip(text, text.index("{") + 1)
    while True:
        name, end = _scan(text, at)
        start = _skip(text, _skip(text, end) + 1)
        _, end = _scan(text, start)
        members[name] = text[start:end]
        at = _skip(text, end)
        if text[at] != ",":
            return members
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    blank = _blank.match(text, at)
    assert blank is not None  # it can be empty
    return blank.end()


# Answering


def shown(row: tables.Statement) -> str:
    """A statement as the LRS returns it (xAPI-Data 2.4): as it came, with what the LRS has to say beside it."""
    stored = json.dumps(instant(row.stored))
    authority = json.dumps({"objectType": "Agent", **json.loads(row.authority)})
    said = {
        "id": json.dumps(str(row.id)),
        "timestamp": json.dumps(instant(row.timestamp)),
        "version": '"1.0.0"',
        **_members(row.payload.decode()),
    }
    return _joined({**said, "stored": stored, "authority": authority})


def forwarded(payload: bytes, statement_id: uuid.UUID, timestamp: dt.datetime) -> bytes:
    """A received statement as another LRS gets it: as it came, with the id and time that it was given here.

    Without them the other LRS would make up its own, and a repeat would be a second statement there.
    """
    members = _members(payload.decode())
    if "id" in members and "timestamp" in members:
        return payload
    given = {"id": json.dumps(str(statement_id)), "timestamp": json.dumps(instant(timestamp))}
    return _joined({**given, **members}).encode()


def _joined(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"


def instant(at: dt.datetime) -> str:
    """A time as the LRS writes it: UTC, and microseconds, so that ``since`` finds nothing twice (xAPI-Data 4.5)."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# Comparing (xAPI-Data 2.3.1)


def same(known: tables.Statement, repeat: Json) -> bool:
    """Is ``repeat`` the statement that is known, but for what an LRS may assign, keep elsewhere or write otherwise?"""
    ours, theirs = _essence(json.loads(known.payload)), _essence(repeat)
    times = [at for at in (ours.pop("timestamp", None), theirs.pop("timestamp", None)) if at is not None]
    return len(set(times)) < 2 and _canonical(ours) == _canonical(theirs)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _essence(statement: Json) -> Json:
    """A statement, or SubStatement, without what does not count in a comparison."""
    plain = {name: value for name, value in statement.items() if name not in ("id", "stored", "authority", "version")}
    plain["verb"] = {"id": plain["verb"]["id"]}
    plain["actor"], plain["object"] = _party(plain["actor"]), _target(plain["object"])
    if "timestamp" in plain:
        plain["timestamp"] = moment(plain["timestamp"]).isoformat()
    if "duration" in plain.get("result", {}):
        # A string, of which hundredths of a second count (xAPI-Data 4.6)
        duration = re.sub(r"([.,]\d\d)\d+S", r"\1S", plain["result"]["duration"])
        plain["result"] = {**plain["result"], "duration": duration}
    if "context" in plain:
        plain["context"] = _surroundings(plain["context"])
    return plain


def _party(actor: Json) -> Json:
    """An actor with its identifier in canonical form, the members of a Group in no order."""
    plain = dict(actor)
    canonical = ledger.identifier(actor)
    if canonical:
        plain |= json.loads(canonical)
    if "member" in plain:
        plain["member"] = sorted((_party(member) for member in plain["member"]), key=_canonical)
    return plain


def _target(target: Json) -> Json:
    kind = target.get("objectType", "Activity")
    if kind in ("Agent", "Group"):
        return _party(target)
    if kind == "SubStatement":
        return _essence(target)
    plain = {name: value for name, value in target.items() if name != "definition"}
    return {**plain, "id": plain["id"].lower()} if kind == "StatementRef" else plain


def _surroundings(context: Json) -> Json:
    plain = dict(context)
    for name in ("registration", "language"):
        if name in plain:
            plain[name] = plain[name].lower()
    for name in ("instructor", "team"):
        if name in plain:
            plain[name] = _party(plain[name])
    if "statement" in plain:
        plain["statement"] = _target(plain["statement"])
    if "contextActivities" in plain:
        related = plain["contextActivities"].items()
        plain["contextActivities"] = {name: [_target(one) for one in _listed(some)] for name, some in related}
    return plain


def _listed(some: Any) -> list[Json]:
    return some if isinstance(some, list) else [some]  # a single one stands for a list of it (xAPI-Data 2.4.6.2)


# Queries


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The filters of GET /statements, as they were ``asked`` and in the form of the ledger's columns."""

    asked: Mapping[str, str]
    agent: str | None = None
    verb: str | None = None
    activity: str | None = None
    registration: uuid.UUID | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    limit: int = MOST
    ascending: bool = False
    #: The last statement of the page before: when it was stored, and its number.
    after: tuple[dt.datetime, int] | None = None

    @classmethod
    def parse(cls, asked: Mapping[str, str], version: Version) -> Self:
        """Read query parameters; raises InvalidStatement for one that is wrong, unknown, or not offered here."""
        if "more" in asked:
            return cls._resumed(asked["more"], version)
        read = {name: _parameter(name, value, version) for name, value in asked.items()}
        return cls(asked=asked, **{name: value for name, value in read.items() if name not in _OFFERED})

    @classmethod
    def _resumed(cls, token: str, version: Version) -> Self:
        try:
            asked, stored, number = json.loads(base64.urlsafe_b64decode(token))
            after = moment(stored), int(number) % 2**63
            return dataclasses.replace(cls.parse(asked, version), after=after)
        except (ValueError, TypeError, AttributeError):
            raise InvalidStatement("more", "must be as an answer of this LRS gave it (xAPI-Data 2.5)") from None

    def following(self, last: tables.Statement) -> str:
        """The token of the page after the one that ended with ``last``; it holds the whole query and never expires."""
        told = json.dumps([dict(self.asked), last.stored.isoformat(), last.seq], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode()

    def select(self) -> Select[tables.Statement]:
        """The rows of one page, and one more where there are more; voided ones are never among them."""
        row = tables.Statement
        place = (row.stored, row.seq)
        chosen = select(row).where(row.voided_by.is_(None), *self._filters()).limit(self.limit + 1)
        if self.after is not None:
            here = tuple_(*place)
            chosen = chosen.where(here > self.after if self.ascending else here < self.after)
        return chosen.order_by(*(column.asc() if self.ascending else column.desc() for column in place))

    def _filters(self) -> list[ColumnElement[bool]]:
        row = tables.Statement
        filters: list[ColumnElement[bool]] = []
        if self.agent is not None:
            filters.append(or_(row.actor == self.agent, row.object_id == self.agent))
        if self.verb is not None:
            filters.append(row.verb == self.verb)
        if self.activity is not None:
            filters.append(row.object_id == self.activity)
        if self.registration is not None:
            filters.append(row.registration == self.registration)
        if self.since is not None:
            filters.append(row.stored > self.since)
        if self.until is not None:
            filters.append(row.stored <= self.until)
        return filters


def statement_id(parameters: Mapping[str, str]) -> tuple[uuid.UUID, bool] | None:
    """The one statement that a GET asks for, and whether as a voided one; None where it asks for a list."""
    named = [name for name in ("statementId", "voidedStatementId") if name in parameters]
    if not named:
        return None
    name, strays = named[0], set(parameters) - {named[0], "attachments", "format"}
    if strays:
        raise InvalidStatement(min(strays), f"can't stand beside {name} ({_GET})")
    for other in ("attachments", "format"):
        if other in parameters:
            _parameter(other, parameters[other], Version.V1_0_3)
    if not is_uuid(parameters[name]):
        raise InvalidStatement(name, f"must be a UUID ({_GET})")
    return uuid.UUID(parameters[name]), name == "voidedStatementId"


def _parameter(name: str, value: str, version: Version) -> Any:
    """One query parameter as a filter of the ledger; raises InvalidStatement."""
    if name == "agent":
        return _agent(value, version)
    if name not in _PARAMETERS:
        raise InvalidStatement(name, f"is not a parameter of this resource ({_GET})")
    passes, read, rule = _PARAMETERS[name]
    if not passes(value):
        raise InvalidStatement(name, f"{rule} ({_GET})")
    return read(value)


_OFFERED = {"attachments": "false", "format": "exact", "related_agents": "false", "related_activities": "false"}
_IRI_RULE, _TIME_RULE = "must be an IRI with a scheme", "must be an ISO 8601 time"
#: Of each parameter: the test that its text must pass, what is made of it, and what it must be in words.
_PARAMETERS: dict[str, tuple[Callable[[str], object], Callable[[str], Any], str]] = {
    "verb": (is_iri, ledger.key, _IRI_RULE),
    "activity": (is_iri, ledger.key, _IRI_RULE),
    "registration": (is_uuid, uuid.UUID, "must be a UUID"),
    "since": (is_iso_8601, moment, _TIME_RULE),
    "until": (is_iso_8601, moment, _TIME_RULE),
    "limit": (
        re.compile("[0-9]{1,9}").fullmatch,
        lambda value: min(int(value) or MOST, MOST),
        "must be a whole number, 0 or more",
    ),
    "ascending": (("true", "false").__contains__, "true".__eq__, "must be true or false"),
    **{name: (only.__eq__, str, f"can only be {only} at this LRS") for name, only in _OFFERED.items()},
}


def _agent(value: str, version: Version) -> str:
    actor = loads(value.encode())
    iri = "http://adlnet.gov/expapi/verbs/experienced"
    try:
        validate({"actor": actor, "verb": {"id": iri}, "object": {"id": iri}}, version)
    except InvalidStatement as fault:
        raise InvalidStatement(f"agent{fault.path.removeprefix('actor')}", fault.rule) from None
    assert isinstance(actor, dict)
    if not ledger.identifier(actor):
        raise InvalidStatement("agent", f"must be an Agent or an identified Group ({_GET})")
    return ledger.key(ledger.identifier(actor))
