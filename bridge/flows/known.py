"""What the built-in LRS knows of agents and activities: what the newest statements that name them tell.

Out of those that the reader may read: names are personal data, and a definition can hold the answers of a quiz.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from bridge.flows import callers
from bridge.flows.callers import Caller
from bridge.flows.errors import Invalid, Refused
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.xapi import index, parameters
from bridge.xapi.index import Json, Mentioned
from bridge.xapi.validation import InvalidStatement, Version

#: So many statements are looked at for each way to name something: what older ones told was told again, or changed.
NEWEST = 100

_READ_ALL = ("statements/read", "all/read", "profile")
_READ = (*_READ_ALL, "statements/read/mine")
Column = InstrumentedAttribute[str]

_MAPS = frozenset({"name", "description", "extensions"})
_INTERACTION = frozenset(
    {"interactionType", "correctResponsesPattern", "choices", "scale", "source", "target", "steps"}
)


def person(runtime: Runtime, caller: Caller, asked: Mapping[str, str], version: Version) -> Json:
    """The Person Object of an agent (xAPI-Communication 2.4): its identifier, and the names that it was given."""
    callers.require(caller, *_READ)
    section = "xAPI-Communication 2.4"
    try:
        parameters.check_names(asked, section, required=("agent",))
        agent = parameters.agent(asked["agent"], version)
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    wanted = index.identifier(agent)
    if caller.content is not None and caller.content.actor != wanted:
        raise Refused("launched content may ask only for the person who launched it")
    row = tables.Statement
    told = [agent, *_told(runtime, caller, index.key(wanted), (row.actor, row.object_id), ("agent", "member"))]
    names = dict.fromkeys(one["name"] for one in told if "name" in one and index.identifier(one) == wanted)
    identifier = {name: [value] for name, value in json.loads(wanted).items()}
    return {"objectType": "Person", **({"name": list(names)} if names else {}), **identifier}


def activity(runtime: Runtime, caller: Caller, asked: Mapping[str, str]) -> Json:
    """An Activity with the definition that statements gave it (xAPI-Communication 2.5); the id alone without one."""
    callers.require(caller, *_READ)
    section = "xAPI-Communication 2.5"
    try:
        parameters.check_names(asked, section, required=("activityId",))
        wanted = parameters.activity_id(asked["activityId"])
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    told = _told(runtime, caller, index.key(wanted), (tables.Statement.object_id,), ("activity",))
    definition = merged([one["definition"] for one in told if one.get("id") == wanted and "definition" in one][::-1])
    return {"objectType": "Activity", "id": wanted, **({"definition": definition} if definition else {})}


def merged(definitions: Sequence[Json]) -> Json:
    """One definition of an activity out of several, the newest last, which decides where they differ.

    Languages and extensions of all are kept. An interaction is taken whole: its parts mean nothing beside another's.
    """
    whole: Json = {}
    for definition in definitions:
        if "interactionType" in definition:
            whole = {name: value for name, value in whole.items() if name not in _INTERACTION}
        for name, value in definition.items():
            whole[name] = {**whole.get(name, {}), **value} if name in _MAPS else value
    return whole


def _told(
    runtime: Runtime, caller: Caller, key: str, columns: Sequence[Column], kinds: Sequence[Mentioned]
) -> list[Json]:
    """All objects in the newest statements that name something by a column or as a mention, the newest first."""
    row, mention = tables.Statement, tables.StatementMention
    numbers = [index.mention(kind, key) for kind in kinds]
    of_mentions = [
        select(mention.statement_seq).where(mention.mention == number).order_by(mention.stored.desc()).limit(NEWEST)
        for number in numbers
    ]
    ways = [*(column == key for column in columns), *(row.seq.in_(newest) for newest in of_mentions)]
    readable = callers.readable(caller, runtime.settings.issuer, *_READ_ALL).conditions(row)
    found: dict[int, tuple[dt.datetime, bytes]] = {}
    with runtime.db.read() as session:
        for named in ways:
            newest = select(row.seq, row.stored, row.payload).where(named, row.voided_by.is_(None), *readable)
            rows = session.execute(newest.order_by(row.stored.desc()).limit(NEWEST))
            found |= {one.seq: (one.stored, one.payload) for one in rows}
    in_order = sorted(found.values(), key=lambda one: one[0], reverse=True)
    return [one for _, payload in in_order for one in _objects(json.loads(payload))]


def _objects(value: Any) -> Iterator[Json]:
    """Every JSON object in a statement but those that extensions hold."""
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name != "extensions":
                yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
