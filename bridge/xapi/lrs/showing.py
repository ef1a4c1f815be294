"""Statements as the LRS returns them (xAPI-Data 2.4, xAPI-Communication 2.1.3)."""

from __future__ import annotations

import datetime as dt
import enum
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bridge.connect import Attached
from bridge.xapi.index import Json
from bridge.xapi.ledger import instant
from bridge.xapi.lrs import multipart as parts
from bridge.xapi.lrs import pieces
from bridge.xapi.lrs.negotiating import in_one_language
from bridge.xapi.validation import Version

_LATER_PROPERTIES = ("contextAgents", "contextGroups")
_has_single_activity = re.compile(r'"(?:parent|grouping|category|other)"\s*:\s*\{').search
#: What becomes of properties, by their names.
_Changes = Mapping[str, Callable[[Any], Any]]


class Form(enum.StrEnum):
    """What a reader wants of each statement (the parameter ``format``)."""

    EXACT = "exact"
    IDS = "ids"
    CANONICAL = "canonical"


class Kept(NamedTuple):
    """What is read of a statement of the ledger, by the names of its columns, to be shown."""

    seq: int
    stored: dt.datetime
    payload: bytes
    version: str
    authority: str


def shown(row: Kept, version: Version, form: Form = Form.EXACT, languages: Sequence[str] = ()) -> str:
    """A statement for a reader of this version: as it came, with what the LRS has to say beside it."""
    text = row.payload.decode()
    if _has_single_activity(text):
        text = _in_lists(text)
    if version is Version.V1_0_3 and row.version != "1.0.0":
        text = _without_later_properties(text)
    if form is not Form.EXACT:
        text = _rewritten(text, _changes(_IDS if form is Form.IDS else _canonical(list(languages))))
    said = f',"stored":"{instant(row.stored)}","authority":{{"objectType":"Agent",{row.authority[1:]}'
    if not _has_version(text):
        said += f',"version":"{row.version}"'
    return f"{text[:-1]}{said}}}"


def _has_version(text: str) -> bool:
    """Does the statement say its version itself? Looked into only where the word is in it, or could be by an escape."""
    return ('"version"' in text or "\\u" in text) and "version" in json.loads(text)


def listed(statements: Iterable[str], more: str) -> str:
    """A StatementResult (xAPI-Data 2.5)."""
    return f'{{"statements":[{",".join(statements)}],"more":{json.dumps(more)}}}'


def multipart(content: str, attached: Mapping[str, bytes], payloads: Iterable[bytes], boundary: str) -> bytes:
    """An answer with the attachments that its statements came with, by their hash; each once."""
    types: dict[str, str] = {}
    for payload in payloads:
        _note_types(json.loads(payload), types)
    found = [Attached(sha2, types.get(sha2, "application/octet-stream"), content) for sha2, content in attached.items()]
    return parts.built(content.encode(), found, boundary)


def _note_types(statement: Json, types: dict[str, str]) -> None:
    for attachment in statement.get("attachments", ()):
        types[attachment["sha2"].lower()] = attachment["contentType"]
    if statement["object"].get("objectType") == "SubStatement":
        _note_types(statement["object"], types)


def _in_lists(text: str) -> str:
    """A statement, or SubStatement, whose context activities are lists, as an LRS returns them (xAPI-Data 2.4.6.2)."""
    found = pieces.members(text)
    context = pieces.members(found.get("context", "{}"))
    if "contextActivities" in context:
        kinds = pieces.members(context["contextActivities"])
        lists = {name: f"[{some}]" if some.startswith("{") else some for name, some in kinds.items()}
        found["context"] = pieces.joined({**context, "contextActivities": pieces.joined(lists)})
    if "object" in pieces.members(found["object"]):
        found["object"] = _in_lists(found["object"])
    return pieces.joined(found)


def _rewritten(text: str, changes: _Changes) -> str:
    """The statement with some properties changed; all others keep their text."""
    found = pieces.members(text)
    for name, change in changes.items():
        if name in found:
            found[name] = json.dumps(change(json.loads(found[name])), ensure_ascii=False)
    return pieces.joined(found)


def _changed(thing: Json, changes: _Changes) -> Json:
    return {name: changes[name](value) if name in changes else value for name, value in thing.items()}


def _without_later_properties(text: str) -> str:
    """A statement, or SubStatement, as 1.0.3 has it: its readers may refuse what it has no property for (2.2)."""
    if "\\u" not in text and not any(name in text for name in _LATER_PROPERTIES):
        return text
    found = pieces.members(text)
    if "context" in found:
        kept = {name: some for name, some in pieces.members(found["context"]).items() if name not in _LATER_PROPERTIES}
        found["context"] = pieces.joined(kept)
    if "object" in pieces.members(found["object"]):
        found["object"] = _without_later_properties(found["object"])
    return pieces.joined(found)


class _Lens(NamedTuple):
    """How a form shows each kind of thing in a statement."""

    party: Callable[[Json], Json]
    activity: Callable[[Json], Json]
    verb: Callable[[Json], Json]


def _changes(lens: _Lens) -> _Changes:
    """What a form does to the properties of a statement or SubStatement."""

    def thing(value: Json) -> Json:
        kind = value.get("objectType", "Activity")
        if kind == "SubStatement":
            return _changed(value, changes)
        return value if kind == "StatementRef" else (lens.activity if kind == "Activity" else lens.party)(value)

    around: _Changes = {
        **dict.fromkeys(("instructor", "team"), lens.party),
        "contextAgents": lambda entries: [_changed(entry, {"agent": lens.party}) for entry in entries],
        "contextGroups": lambda entries: [_changed(entry, {"group": lens.party}) for entry in entries],
        "contextActivities": lambda kinds: {name: list(map(lens.activity, some)) for name, some in kinds.items()},
    }
    changes: _Changes = {
        "actor": lens.party,
        "verb": lens.verb,
        "object": thing,
        "context": lambda context: _changed(context, around),
    }
    return changes


# format=ids: the least that names each thing

_IDENTIFIERS = ("mbox", "mbox_sha1sum", "openid", "account")


def _named(party: Json) -> Json:
    """An Agent or Group by its identifier alone, an anonymous Group by those of its members."""
    kept = {name: party[name] for name in ("objectType", *_IDENTIFIERS) if name in party}
    if party.keys().isdisjoint(_IDENTIFIERS):
        kept["member"] = [_named(member) for member in party["member"]]
    return kept


def _by_id(thing: Json) -> Json:
    return {"id": thing["id"]}


_IDS = _Lens(_named, _by_id, _by_id)

# format=canonical: one language of each text

_COMPONENTS = ("choices", "scale", "source", "target", "steps")


def _canonical(wanted: list[str]) -> _Lens:
    """Verbs and activities with their texts in the one language that the reader wants most."""

    def text(texts: dict[str, str]) -> dict[str, str]:
        return in_one_language(texts, wanted)

    def components(some: list[Json]) -> list[Json]:
        return [_changed(component, {"description": text}) for component in some]

    defined: _Changes = {"name": text, "description": text, **dict.fromkeys(_COMPONENTS, components)}
    return _Lens(
        party=lambda party: party,
        activity=lambda activity: _changed(activity, {"definition": lambda definition: _changed(definition, defined)}),
        verb=lambda verb: _changed(verb, {"display": text}),
    )
