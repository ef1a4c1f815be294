"""Are two statements the same, by the rules for it (xAPI-Data 2.3.1)?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from bridge.store import tables
from bridge.xapi.index import Json, identifier, moment

_ASSIGNED = ("id", "stored", "authority", "version")


def same(known: tables.Statement, repeat: Json) -> bool:
    """Is ``repeat`` the statement that is known, but for what an LRS may assign, keep elsewhere or write otherwise?"""
    return alike(json.loads(known.payload), repeat)


def alike(one: Json, other: Json, *, beside: Iterable[str] = ()) -> bool:
    """Are these the same statement? ``beside`` are further properties that don't count."""
    ours, theirs = _essence(one), _essence(other)
    times = [at for at in (ours.pop("timestamp", None), theirs.pop("timestamp", None)) if at is not None]
    for name in beside:
        ours.pop(name, None), theirs.pop(name, None)
    return len(set(times)) < 2 and _canonical(ours) == _canonical(theirs)


def _canonical(value: Any) -> str:
    return json.dumps(_counted(value), sort_keys=True)


def _counted(value: Any) -> Any:
    """``value`` with its whole numbers in one form: 5.0 is 5, as many LRSs write it; true is not 1."""
    if isinstance(value, dict):
        return {name: _counted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_counted(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _essence(statement: Json) -> Json:
    """A statement, or SubStatement, without what does not count in a comparison."""
    plain = {name: value for name, value in statement.items() if name not in _ASSIGNED}
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
    plain = _without_default(actor, "Agent")
    canonical = identifier(actor)
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
    plain = _without_default(target, "Activity")
    plain.pop("definition", None)
    return {**plain, "id": plain["id"].lower()} if kind == "StatementRef" else plain


def _without_default(held: Json, kind: str) -> Json:
    """A copy without the ``objectType`` that it has by itself: some LRSs write it out."""
    return {name: value for name, value in held.items() if (name, value) != ("objectType", kind)}


def _surroundings(context: Json) -> Json:
    plain = dict(context)
    for name in ("registration", "language"):
        if name in plain:
            plain[name] = plain[name].lower()
    for name in ("instructor", "team"):
        if name in plain:
            plain[name] = _party(plain[name])
    for name, member in (("contextAgents", "agent"), ("contextGroups", "group")):
        if name in plain:
            plain[name] = [{**entry, member: _party(entry[member])} for entry in plain[name]]
    if "statement" in plain:
        plain["statement"] = _target(plain["statement"])
    if "contextActivities" in plain:
        related = plain["contextActivities"].items()
        plain["contextActivities"] = {name: [_target(one) for one in _listed(some)] for name, some in related}
    return plain


def _listed(some: Any) -> list[Json]:
    return some if isinstance(some, list) else [some]  # a single one stands for a list of it (xAPI-Data 2.4.6.2)
