"""Statements that an examination stores at an LRS and voids again: they name nobody and say what they are."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

from bridge.connect import Attached, Statement

_HOME = "https://flowbridge.invalid"
_ACTOR = {"objectType": "Agent", "account": {"homePage": _HOME, "name": "connection-doctor"}}
_ACTIVITY = f"{_HOME}/connection-test"
_CONTENT = b"flowbridge connection test"
_ATTACHED = Attached(hashlib.sha256(_CONTENT).hexdigest(), "text/plain", _CONTENT)
#: The state document that is tried.
STATE = {"activityId": _ACTIVITY, "agent": json.dumps(_ACTOR), "stateId": "connection-test"}


def statement(*, attached: bool = False) -> Statement:
    """A new probe, with a small text attached where that is asked for."""
    definition = {"name": {"en": "Connection test of flowbridge"}}
    target = {"objectType": "Activity", "id": _ACTIVITY, "definition": definition}
    parts: dict[str, Any] = {"attachments": [_attachment()]} if attached else {}
    made = _made("experienced", target, **parts)
    return Statement(made.id, made.payload, (_ATTACHED,)) if attached else made


def voiding(one: Statement) -> Statement:
    """The statement that voids a probe."""
    return _made("voided", {"objectType": "StatementRef", "id": one.id})


def _made(verb: str, target: dict[str, Any], **parts: Any) -> Statement:
    name = str(uuid.uuid4())
    at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    verb_id = f"http://adlnet.gov/expapi/verbs/{verb}"
    made = {"id": name, "actor": _ACTOR, "verb": {"id": verb_id, "display": {"en": verb}}, "object": target, **parts}
    return Statement(name, json.dumps({**made, "timestamp": at}).encode())


def _attachment() -> dict[str, Any]:
    return {
        "usageType": f"{_HOME}/connection-test/attachment",
        "display": {"en": "Connection test"},
        "contentType": _ATTACHED.content_type,
        "length": len(_CONTENT),
        "sha2": _ATTACHED.sha2,
    }
