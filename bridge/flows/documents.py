"""The documents that programs keep at the built-in LRS: state, and profiles of activities and agents.

Sections of xAPI-Communication are those of 1.0.3; 2.0 (IEEE 9274.1.1-2023) differs where it is said.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from bridge.flows import callers, launched_content
from bridge.flows.callers import Caller
from bridge.flows.errors import FlowError, Invalid, NotFound
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_once
from bridge.xapi import index, parameters
from bridge.xapi.lrs import pieces
from bridge.xapi.validation import InvalidStatement, Version, loads

#: What is to be stored, by what is there.
Decide = Callable[[tables.Document | None], "Content"]

_CONCURRENCY = "xAPI-Communication 3.1"
_MERGE = "xAPI-Communication 2.2"
_tags = re.compile(r'(?:^|,)[ \t]*(?:W/)?"([^"]*)"[ \t]*(?=,|$)').findall


class Changed(FlowError):
    """The document is not as the request's If-Match or If-None-Match wants it."""

    code = "precondition_failed"


class Unconditional(FlowError):
    """The document exists, and the request does not say which content of it it replaces."""

    code = "conflict"


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One of the three kinds of documents: what its documents belong to, and how a request names one."""

    kind: Literal["state", "activity_profile", "agent_profile"]
    scope: str
    belongs_to: tuple[str, ...]
    id_name: str
    section: str
    may_name: tuple[str, ...] = ()


STATE = Resource("state", "state", ("activityId", "agent"), "stateId", "xAPI-Communication 2.3", ("registration",))
ACTIVITY_PROFILE = Resource("activity_profile", "profile", ("activityId",), "profileId", "xAPI-Communication 2.7")
AGENT_PROFILE = Resource("agent_profile", "profile", ("agent",), "profileId", "xAPI-Communication 2.6")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What a request for documents says by its headers and parameters, whoever sent it."""

    resource: Resource
    version: Version
    parameters: Mapping[str, str]
    if_match: str | None = None
    if_none_match: str | None = None

    @property
    def names_one(self) -> bool:
        """Is it about one document, and not about all of a place?"""
        return self.resource.id_name in self.parameters


class Content(NamedTuple):
    """The bytes of a document, and the Content-Type that they came with."""

    body: bytes
    type: str

    @property
    def is_json(self) -> bool:
        return self.type.partition(";")[0].strip().lower() == "application/json"


class Listing(NamedTuple):
    """The ids of a place's documents, and when the newest of them was changed."""

    ids: list[str]
    modified: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """What documents belong to; ``agent`` is canonical, what is not given is ""."""

    kind: str
    activity: str
    agent: str
    registration: str

    @classmethod
    def of(cls, asked: Asked, *also: str) -> _Place:
        """Read the parameters, of which ``also`` are allowed besides those of the place; raises Invalid."""
        given, resource = asked.parameters, asked.resource
        try:
            named = (*resource.may_name, *also)
            parameters.check_names(given, resource.section, required=resource.belongs_to, also=named)
            agent = index.identifier(parameters.agent(given["agent"], asked.version)) if "agent" in given else ""
            activity = parameters.activity_id(given["activityId"]) if "activityId" in given else ""
            registration = parameters.registration(given["registration"]) if "registration" in given else ""
        except InvalidStatement as fault:
            raise Invalid(fault.path, fault.rule) from None
        return cls(resource.kind, activity, agent, registration)

    def columns(self) -> dict[str, str]:
        """The columns that hold it."""
        bounded = {"activity": index.key(self.activity), "agent": index.key(self.agent)}
        return {"kind": self.kind, **bounded, "registration": self.registration}

    def all(self) -> list[ColumnElement[bool]]:
        """All of its documents: in any registration, where it has none (xAPI-Communication 2.3)."""
        columns = self.columns()
        if not self.registration:
            del columns["registration"]
        return [getattr(tables.Document, name) == value for name, value in columns.items()]

    def one(self, document_id: str) -> list[ColumnElement[bool]]:
        """The document with that id; where no registration was given, the one that belongs to none."""
        columns = {**self.columns(), "key": index.key(document_id)}
        return [getattr(tables.Document, name) == value for name, value in columns.items()]


def get(runtime: Runtime, caller: Caller, asked: Asked) -> tables.Document:
    """The document that a request names; raises NotFound where there is none."""
    place, document_id = _one(caller, asked, change=False)
    with runtime.db.read() as session:
        found = session.scalar(select(tables.Document).where(*place.one(document_id)))
    if found is None:
        raise NotFound(f"there is no document with this {asked.resource.id_name} here")
    return found


def identifiers(runtime: Runtime, caller: Caller, asked: Asked) -> Listing:
    """The ids of the documents of a place, only those changed after ``since`` where it is given."""
    place = _permitted(caller, asked, "since", change=False)
    wanted = place.all()
    if "since" in asked.parameters:
        wanted.append(tables.Document.updated_at > _since(asked.parameters["since"]))
    row = tables.Document
    with runtime.db.read() as session:
        found = session.execute(select(row.document_id, row.updated_at).where(*wanted).order_by(row.id)).all()
    # A State document can have one id in several registrations; the list names it once.
    return Listing(list(dict.fromkeys(of for of, _ in found)), max((at for _, at in found), default=None))


def put(runtime: Runtime, caller: Caller, asked: Asked, content: Content) -> None:
    """Store a document in place of the one that is there.

    Raises Changed where a condition of the request does not hold, and Unconditional where it has none though the
    document exists: for profiles in both versions, for state in 2.0 (xAPI-Communication 3.1, IEEE 9274.1.1 4.1.4). In
    1.0.3 a new profile needs its condition too.
    """
    blind = (asked.if_match, asked.if_none_match) == (None, None)
    is_state, is_old = asked.resource is STATE, asked.version is Version.V1_0_3

    def replace(known: tables.Document | None) -> Content:
        if blind and known is not None and not (is_state and is_old):
            raise Unconditional(
                "the document exists: read it, and send its ETag as If-Match to replace it, or If-None-Match: * to"
                f" store only a new one ({_CONCURRENCY})"
            )
        if blind and is_old and not is_state:
            raise Invalid("If-None-Match", f"must be * to store a new document, or send If-Match ({_CONCURRENCY})")
        return content

    _write(runtime, caller, asked, content, replace)


def post(runtime: Runtime, caller: Caller, asked: Asked, content: Content) -> None:
    """Merge a JSON object into the document by its top-level properties; store it where there is none.

    Raises Invalid where one of the two is no JSON object, and Changed where a condition does not hold.
    """
    new = _properties(content, "the request's") if content.is_json else None

    def merge(known: tables.Document | None) -> Content:
        if known is None:
            return content
        if new is None:
            rule = f"must be application/json, and the content a JSON object, to be merged by POST ({_MERGE})"
            raise Invalid("Content-Type", rule)
        old = _properties(Content(known.content, known.content_type), "the stored document's")
        return Content(pieces.joined({**old, **new}).encode(), content.type)

    _write(runtime, caller, asked, content, merge)


def remove(runtime: Runtime, caller: Caller, asked: Asked) -> None:
    """Delete a document or, for state alone, all of a place; what is not there is deleted already."""
    if asked.resource is STATE and not asked.names_one:
        _remove_all(runtime, caller, asked)
        return
    place, document_id = _one(caller, asked, change=True)
    with runtime.db.write() as session:
        known = _locked(session, place, document_id)
        _check_conditions(asked, known)
        if known is not None:
            session.delete(known)


def _remove_all(runtime: Runtime, caller: Caller, asked: Asked) -> None:
    place = _permitted(caller, asked, change=True)
    if asked.if_match is not None or asked.if_none_match is not None:
        raise Invalid(
            asked.resource.id_name, f"must be given, because the condition is about one document ({_CONCURRENCY})"
        )
    with runtime.db.write() as session:
        session.execute(delete(tables.Document).where(*place.all()))


def _write(
    runtime: Runtime,
    caller: Caller,
    asked: Asked,
    content: Content,
    decide: Callable[[tables.Document | None], Content],
) -> None:
    """Store what ``decide`` makes of the document that is there, once the request's conditions hold."""
    place, document_id = _one(caller, asked, change=True)
    if not (content.type.isascii() and content.type.isprintable()):  # it becomes a header again
        raise Invalid("Content-Type", f"must be an Internet media type ({_MERGE})")
    stored = False
    with runtime.db.write() as session:
        while not stored:  # another one stored it first, which is seen once that transaction is over: decide anew
            known = _locked(session, place, document_id)
            _check_conditions(asked, known)
            stored = _store(session, place, document_id, known, decide(known))


def _locked(session: Session, place: _Place, document_id: str) -> tables.Document | None:
    """The document, which nobody else changes until the end of the transaction."""
    return session.scalar(select(tables.Document).where(*place.one(document_id)).with_for_update())


def _store(session: Session, place: _Place, document_id: str, known: tables.Document | None, content: Content) -> bool:
    """Write the document; False where it is new, and another one has just made it."""
    values: dict[str, Any] = {
        "content": content.body,
        "content_type": content.type,
        "etag": hashlib.sha1(content.body, usedforsecurity=False).hexdigest(),
        "updated_at": now(),
    }
    if known is None:
        own = {"document_id": document_id, "key": index.key(document_id)}
        return insert_once(session, tables.Document, **place.columns(), **own, **values)
    for name, value in values.items():
        setattr(known, name, value)
    return True


def _check_conditions(asked: Asked, known: tables.Document | None) -> None:
    """Raises Changed where If-Match or If-None-Match does not hold (RFC 9110 13.1)."""
    there = "there is no such document" if known is None else f'its ETag is "{known.etag}"'
    if asked.if_match is not None and not _matches("If-Match", asked.if_match, known):
        raise Changed(f"If-Match does not hold: {there}; read the document, and decide again")
    if asked.if_none_match is not None and _matches("If-None-Match", asked.if_none_match, known):
        raise Changed(f"If-None-Match does not hold: {there}; read the document, and decide again")


def _matches(header: str, condition: str, known: tables.Document | None) -> bool:
    # A weak tag counts as the strong one: proxies that compress make ours weak, and it stands for the same bytes.
    tags = _tags(condition)
    if not tags and condition.strip() != "*":
        raise Invalid(header, f"must be * or ETags in quotes ({_CONCURRENCY})")
    return known is not None and (not tags or known.etag in tags)


def _one(caller: Caller, asked: Asked, *, change: bool) -> tuple[_Place, str]:
    """Place and id of the one document that a request is about."""
    name = asked.resource.id_name
    place = _permitted(caller, asked, name, change=change)
    document_id = asked.parameters.get(name, "")
    if not document_id or "\0" in document_id:
        raise Invalid(name, f"must be given, and be a text without null characters ({asked.resource.section})")
    return place, document_id


def _permitted(caller: Caller, asked: Asked, *also: str, change: bool) -> _Place:
    """The place that a request names, once its sender may do there what it wants."""
    resource = asked.resource
    callers.require(caller, resource.scope, *(() if change else ("all/read",)))
    place = _Place.of(asked, *also)
    if caller.content is not None:
        launched_content.admit_document(
            caller,
            resource.kind,
            activity=place.activity,
            agent=place.agent,
            registration=place.registration,
            document_id=asked.parameters.get(resource.id_name, ""),
            change=change,
        )
    return place


def _since(text: str) -> dt.datetime:
    try:
        return parameters.since(text)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None


def _properties(content: Content, whose: str) -> dict[str, str]:
    """The properties of a JSON object, each as it was written; raises Invalid where the content is something else."""
    rule = f"{whose} content must be a JSON object to be merged ({_MERGE})"
    if not content.is_json:
        raise Invalid("Content-Type", rule)
    try:
        properties = loads(content.body)
    except InvalidStatement as fault:
        raise Invalid(fault.path, f"{rule}: {fault.rule}") from None
    if not isinstance(properties, dict):
        raise Invalid("", rule)
    return pieces.members(content.body.decode()) if properties else {}
