"""Deterministic ids: the same fact has the same id in every process and on every retry.

The key of an id is a tuple of stable business keys, never a text that may be reworded. Changing a key's shape changes
every id made from it, so each maker carries a version word that a golden test holds.
"""

from __future__ import annotations

import json
import uuid

#: Root of the bridge's own IRIs: verbs, activity types, extensions and profile (docs/xapi-profile.md).
IRI = "https://w3id.org/xapi/flowbridge"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, IRI)


def _make(kind: str, *key: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, json.dumps([kind, *key], ensure_ascii=False, separators=(",", ":")))


def event_id(connection: str, external_id: str) -> uuid.UUID:
    """The event ``external_id`` of a connection; the second arrival has the id of the first."""
    return _make("event/1", connection, external_id)


def prompt_id(event: uuid.UUID, rule: str, person: str) -> uuid.UUID:
    """The decision of one rule on one event for one person ("" when nobody was found)."""
    return _make("prompt/1", str(event), rule, person)


def delivery_id(prompt: uuid.UUID, channel: str) -> uuid.UUID:
    """One prompt through one channel."""
    return _make("delivery/1", str(prompt), channel)


def statement_id(launch: uuid.UUID, verb: str, occurrence: str = "") -> uuid.UUID:
    """One statement about a launch; ``occurrence`` tells repeats of a verb apart (a score's timestamp, a step's id)."""
    return _make("statement/1", str(launch), verb, occurrence)


def asset_id(connection: str, external_id: str) -> uuid.UUID:
    """An asset of a catalogue."""
    return _make("asset/1", connection, external_id)


def correction_id(statement: uuid.UUID, content: object) -> uuid.UUID:
    """The statement with this content (JSON values) that is said in place of another one."""
    return _make("correction/1", str(statement), json.dumps(content, ensure_ascii=False, sort_keys=True))


def voiding_id(statement: uuid.UUID) -> uuid.UUID:
    """The statement by which the bridge voids another one of its own."""
    return _make("voiding/1", str(statement))
