"""What a statement is found by: the columns of the ledger, and what it names elsewhere."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any, Literal

from bridge.xapi.validation import InvalidStatement

Json = dict[str, Any]
#: An actor or activity somewhere in a statement, or a member of the Group that is its actor or object.
Mentioned = Literal["agent", "activity", "member"]

_IDENTIFIERS = ("account", "mbox", "mbox_sha1sum", "openid")
_LONGEST_KEY = 500


def columns(statement: Json, stored: dt.datetime) -> Json:
    """The columns by which a statement is found; ``stored`` stands in where it has no timestamp (xAPI-Data 2.4.7)."""
    registration = statement.get("context", {}).get("registration")
    return {
        "id": uuid.UUID(statement["id"]),
        "timestamp": moment(statement["timestamp"]) if "timestamp" in statement else stored,
        "actor": key(identifier(statement["actor"])),
        "verb": key(statement["verb"]["id"]),
        "object_id": key(_object_id(statement["object"])),
        "registration": uuid.UUID(registration) if registration else None,
    }


def _object_id(target: Json) -> str:
    """What the object is found by: an IRI, an actor's identifier, or a statement's id; nothing for a SubStatement."""
    kind = target.get("objectType", "Activity")
    if kind in ("Agent", "Group"):
        return identifier(target)
    if kind == "SubStatement":
        return ""
    return str(target["id"]) if kind == "Activity" else str(uuid.UUID(target["id"]))


def target(statement: Json) -> uuid.UUID | None:
    """The statement that is the object of this one, if one is (xAPI-Data 2.4.4.3)."""
    thing = statement["object"]
    return uuid.UUID(thing["id"]) if thing.get("objectType") == "StatementRef" else None


def identifier(actor: Json) -> str:
    """The canonical form of an actor's inverse functional identifier: JSON of that one property; "" without one.

    Also what the ``agent`` parameter of a query holds (xAPI-Communication 2.1.3).
    """
    for name in _IDENTIFIERS:
        if name in actor:
            return json.dumps({name: _canonical(name, actor[name])}, sort_keys=True, separators=(",", ":"))
    return ""


def _canonical(name: str, value: Any) -> Any:
    if name == "mbox_sha1sum":
        return value.lower()
    if name == "mbox":  # the domain is case-insensitive, the local part is not (RFC 5321 2.4)
        local, _, domain = value.rpartition("@")
        return f"{local}@{domain.lower()}"
    return value


def key(text: str) -> str:
    """``text`` as an indexed column holds it: what is too long for an index entry ends in its hash."""
    if len(text.encode()) <= _LONGEST_KEY:
        return text
    return f"{text[:100]}#{hashlib.sha256(text.encode()).hexdigest()}"


def moment(text: str) -> dt.datetime:
    """An ISO 8601 time that passed validation, as a point in time; without a zone it is taken as UTC."""
    at = dt.datetime.fromisoformat(text)
    try:
        return at.astimezone(dt.UTC) if at.tzinfo else at.replace(tzinfo=dt.UTC)
    except OverflowError:
        raise InvalidStatement("timestamp", "lies beyond the years 1 to 9999 in UTC (xAPI-Data 4.5)") from None


def mention(kind: Mentioned, of: str) -> int:
    """The number that stands for an agent's ``key(identifier(...))``, or an activity's ``key(id)``, among mentions."""
    return int.from_bytes(hashlib.blake2b(f"{kind} {of}".encode(), digest_size=8).digest()) >> 1


def mentions(statement: Json) -> set[int]:
    """Whom and what a statement names elsewhere than as actor or object (``related_...``, xAPI-Communication 2.1.3).

    Members of a Group that is the actor or the object are told apart: the plain ``agent`` of a query finds them too.
    """
    found = {_agent("member", member) for party in _principals(statement) for member in party.get("member", ())}
    found.update(_agent("agent", party) for party in _around(statement))
    found.update(mention("activity", key(activity["id"])) for activity in _context_activities(statement))
    inner = statement["object"]
    if inner.get("objectType") == "SubStatement":
        for party in _principals(inner):
            found.update(_agent("agent", one) for one in (party, *party.get("member", ())))
        found.update(_agent("agent", party) for party in _around(inner))
        found.update(mention("activity", key(activity["id"])) for activity in _context_activities(inner))
        if inner["object"].get("objectType", "Activity") == "Activity":
            found.add(mention("activity", key(inner["object"]["id"])))
    return found - {_NOBODY}


def _agent(kind: Mentioned, party: Json) -> int:
    of = identifier(party)
    return mention(kind, key(of)) if of else _NOBODY


#: An anonymous Group can't be asked for.
_NOBODY = -1


def _principals(statement: Json) -> Iterator[Json]:
    yield statement["actor"]
    if statement["object"].get("objectType") in ("Agent", "Group"):
        yield statement["object"]


def _around(statement: Json) -> Iterator[Json]:
    """The agents and groups of the context, and the members of those groups."""
    context = statement.get("context", {})
    parties = [context[name] for name in ("instructor", "team") if name in context]
    parties += [entry["agent"] for entry in context.get("contextAgents", ())]
    parties += [entry["group"] for entry in context.get("contextGroups", ())]
    for party in parties:
        yield party
        yield from party.get("member", ())


def _context_activities(statement: Json) -> Iterator[Json]:
    for some in statement.get("context", {}).get("contextActivities", {}).values():
        yield from some if isinstance(some, list) else [some]  # a single one stands for a list of it (2.4.6.2)
