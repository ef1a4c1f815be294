"""Statements for the tests of the validator: whole ones, and the ways to change them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bridge.xapi.validation import InvalidStatement, Version, validate

RECORDED = Path(__file__).parents[3] / "shared" / "recorded" / "xapi"

V1, V2 = Version.V1_0_3, Version.V2_0_0
BOTH = pytest.mark.parametrize("version", Version)
ID = "8f87ccde-bb56-4c2e-ab83-44982ef22df0"
VOIDED = "http://adlnet.gov/expapi/verbs/voided"
AGENT = {"mbox": "mailto:ann@example.com"}
GROUP = {"objectType": "Group", "name": "Night shift", "member": [AGENT]}
REF = {"objectType": "StatementRef", "id": ID}
ACTIVITY = {"id": "https://lms.example.com/course/7"}
ATTACHMENT = {
    "usageType": "https://example.com/usage/certificate",
    "display": {"en": "Certificate"},
    "contentType": "application/pdf",
    "length": 0,
    "sha2": "0f" * 32,
}
REMOVED = object()

BASE: dict[str, Any] = {
    "id": ID,
    "actor": {"objectType": "Agent", "account": {"homePage": "https://idp.example.com", "name": "a81f"}},
    "verb": {"id": "http://adlnet.gov/expapi/verbs/completed", "display": {"en-US": "completed"}},
    "object": {
        "objectType": "Activity",
        "id": "https://lms.example.com/course/7",
        "definition": {
            "type": "http://adlnet.gov/expapi/activities/cmi.interaction",
            "name": {"de": "Rücksendung", "zh-Hans-CN": "退货"},
            "description": {"en": "How to take back goods"},
            "moreInfo": "https://lms.example.com/course/7/info",
            "interactionType": "choice",
            "correctResponsesPattern": ["a[,]b"],
            "choices": [{"id": "a", "description": {"en": "A"}}, {"id": "b"}],
            "extensions": {"https://example.com/ext/any": None},
        },
    },
    "result": {
        "score": {"scaled": 0.9, "raw": 90, "min": 0, "max": 100},
        "success": True,
        "completion": True,
        "response": "a",
        "duration": "PT12M4.5S",
        "extensions": {"urn:example:x": [None, {"deep": [1.5]}]},
    },
    "context": {
        "registration": "5F9D2C3A-8B1E-4D7F-A6C0-1E2D3C4B5A69",
        "instructor": {"openid": "https://id.example.com/bo"},
        "team": {"objectType": "Group", "mbox_sha1sum": "cd9b00a5611f94eaa7b1661edab976068e364975"},
        "contextActivities": {"parent": [ACTIVITY], "category": {"id": "https://w3id.org/xapi/example/v1"}},
        "revision": "3",
        "platform": "flowbridge",
        "language": "en-GB",
        "statement": REF,
        "extensions": {"https://example.com/ext/prompt": {"null": None}},
    },
    "timestamp": "2026-03-02T09:41:27.123Z",
    "stored": "2026-03-02T09:41:28+01:00",
    "authority": AGENT,
    "version": "1.0.0",
    "attachments": [ATTACHMENT],
}
SUB: dict[str, Any] = {
    "actor": GROUP,
    "verb": {"id": "http://adlnet.gov/expapi/verbs/planned"},
    "object": {
        "objectType": "SubStatement",
        "actor": AGENT,
        "verb": {"id": "http://adlnet.gov/expapi/verbs/visited"},
        "object": {"objectType": "Agent", "mbox": "mailto:bo@example.com"},
        "context": {"language": "de"},
        "timestamp": "2099-01-01T00:00:00Z",
    },
}


def changed(path: str, value: object, base: dict[str, Any] = BASE) -> dict[str, Any]:
    """A copy of the base with one place (keys and list positions, separated by slashes) set or removed."""
    statement = copy.deepcopy(base)
    *outer, last = path.split("/")
    place: Any = statement
    for name in outer:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    if value is REMOVED:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = copy.deepcopy(value)
    return statement


def refusal(statement: object, version: Version = V1) -> InvalidStatement:
    with pytest.raises(InvalidStatement) as caught:
        validate(statement, version)
    return caught.value


def places(value: object, path: str = "") -> list[str]:
    """Every place of the statement that is neither an extension nor inside one."""
    if isinstance(value, dict):
        steps = [(name, item) for name, item in value.items()]
    elif isinstance(value, list):
        steps = [(str(position), item) for position, item in enumerate(value)]
    else:
        return []
    found = []
    for name, item in steps:
        place = f"{path}/{name}" if path else name
        found += [place, *([] if name == "extensions" else places(item, place))]
    return found
