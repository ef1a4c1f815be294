"""What a company has stated: statement number 0, 1, 2 and so on, in the shape of the bridge's own, always the same."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from typing import Any

from bridge.xapi import profile

PEOPLE, ASSETS, SYSTEMS = 10_000, 1_000, 20
#: One statement in so many is of the person with the number 0.
BUSY = 20
ISSUER = "https://bridge.example"
VERBS = tuple(profile.VERBS.values())
#: When statement 0 was stored, and how long after it the next one.
BEGIN, STEP = dt.datetime(2026, 1, 5, 8, 0, tzinfo=dt.UTC), dt.timedelta(milliseconds=20)


def statement(number: int) -> dict[str, Any]:
    """About 1,500 bytes of JSON."""
    system = number % SYSTEMS
    return {
        "id": str(_uuid("statement", number)),
        "actor": agent(person_of(number)),
        "verb": {"id": verb_of(number)},
        "object": _activity(asset(number % ASSETS), profile.JOB_AID, f"Guide {number % ASSETS}: before you call"),
        "result": {"completion": True, "duration": "PT01M30S"},
        "context": {
            "registration": str(registration(number)),
            "contextActivities": {
                "category": [_activity(profile.VERSION, profile.PROFILE_TYPE)],
                "grouping": [
                    _activity(f"{ISSUER}/activities/catalogues/guides", profile.CATALOGUE, "guides"),
                    _activity(record_type(system), profile.RECORD_TYPE, "opportunity"),
                ],
            },
            "platform": f"desk-{system}",
            "language": "en-GB",
            "extensions": {
                profile.RULE: {"name": "stakeholder-risk", "version": 6},
                profile.PROMPT: str(_uuid("prompt", number)),
                profile.EVENT_TYPE: "desk.opportunity.created",
            },
        },
        "timestamp": _text(BEGIN + STEP * number),
    }


def agent(person: int) -> dict[str, Any]:
    return {"objectType": "Agent", "account": {"homePage": ISSUER, "name": f"E{person:05}"}}


def person_of(number: int) -> int:
    return 0 if number % BUSY == 0 else number // 7 % PEOPLE


def verb_of(number: int) -> str:
    return VERBS[number // BUSY % len(VERBS)]


def asset(number: int) -> str:
    return f"{ISSUER}/activities/assets/{number:04}"


def record_type(system: int) -> str:
    return f"{ISSUER}/activities/record-types/desk-{system}/desk.opportunity"


def registration(number: int) -> uuid.UUID:
    """That of a launch, about which there are four statements."""
    return _uuid("launch", number // 4)


def _uuid(kind: str, number: int) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.blake2b(f"{kind} {number}".encode(), digest_size=16).digest(), version=4)


def _activity(iri: str, kind: str, name: str = "") -> dict[str, Any]:
    definition = {"name": {"en-GB": name}, "type": kind} if name else {"type": kind}
    return {"id": iri, "objectType": "Activity", "definition": definition}


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
