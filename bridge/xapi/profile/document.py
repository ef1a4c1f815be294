"""The published profile: concepts, statement templates and the pattern of a launch (xAPI Profiles 1.0, part two).

``docs/xapi-profile.jsonld`` is this document; a running bridge shows it at ``/profiles/flowbridge``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.xapi import profile

Json = dict[str, Any]

CONTEXT: Sequence[Any] = (
    "https://w3id.org/xapi/profiles/context",
    # The specification makes scope notes language maps (8.1), and its context forgets to say so: they would be lost.
    {"scopeNote": {"@id": "http://www.w3.org/2004/02/skos/core#scopeNote", "@container": "@language"}},
)
CONFORMS_TO = "https://w3id.org/xapi/profiles#1.0"
GENERATED_AT = "2026-11-22T00:00:00Z"

_TEXT = {"type": "string", "minLength": 1}
#: Own activity types: name and meaning.
_ACTIVITY_TYPES: Mapping[str, tuple[str, str]] = {
    profile.JOB_AID: ("job aid", "Guidance that is read while doing the work, not studied before it."),
    profile.PROCEDURE: ("procedure", "A standard operating procedure: the binding way to do a task."),
    profile.DECISION_TREE: ("decision tree", "Questions whose answers lead to what has to be done."),
    profile.RECORD_TYPE: (
        "record type",
        "A kind of record of a business system, never one record. As grouping, with the type's name.",
    ),
    profile.CATALOGUE: (
        "catalogue",
        "The catalogue that an asset of learning or support comes from. As grouping, with the catalogue's name.",
    ),
}
#: Own extensions: kind, name, meaning, JSON Schema of the value, and the verbs that it is meant for (any, if none).
_EXTENSIONS: Mapping[str, tuple[str, str, str, Json, tuple[str, ...]]] = {
    profile.RULE: (
        "ContextExtension",
        "rule",
        "The rule that offered the asset: its name, and the version of its text that decided.",
        {
            "type": "object",
            "required": ["name", "version"],
            "properties": {"name": _TEXT, "version": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
        },
        (),
    ),
    profile.PROMPT: (
        "ContextExtension",
        "prompt",
        "The id of the prompt that led here, a UUID.",
        {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        (),
    ),
    profile.EVENT_TYPE: (
        "ContextExtension",
        "event type",
        "The type of the business event behind it.",
        _TEXT,
        (),
    ),
    profile.RECORD: (
        "ContextExtension",
        "record",
        "A keyed hash of the business record: equal for the same record, meaningless to who has no key.",
        {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        (),
    ),
    profile.REASON: (
        "ContextExtension",
        "reason",
        "Why a statement was voided, in the words of who did it.",
        _TEXT,
        (profile.VOIDED,),
    ),
    profile.STEPS_DONE: (
        "ResultExtension",
        "steps done",
        "The ids of the steps of the checklist that were ticked at that time.",
        {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
        (profile.VERBS["progressed"],),
    ),
}


def _rule(location: str, presence: str = "included", note: str = "", **values: Any) -> Json:
    """A rule (8.1); ``values`` are ``any``, ``all`` or ``none``."""
    return {"location": location, "presence": presence, **values, **({"scopeNote": {"en": note}} if note else {})}


def _extension(iri: str) -> str:
    where = "result" if _EXTENSIONS[iri][0] == "ResultExtension" else "context"
    return f"$.{where}.extensions['{iri}']"


_EVERY: Sequence[Json] = (
    _rule("$.id", note="The same fact has the same id, whoever reports it and how often."),
    _rule("$.timestamp", note="When it happened, in UTC with milliseconds."),
    _rule("$.actor.account.homePage", note="The address of the bridge that states it."),
    _rule("$.actor.account.name"),
    _rule("$.actor['name','mbox','mbox_sha1sum','openid']", "excluded", "No names and no addresses of people."),
    _rule("$.context.registration", note="The id of the launch."),
    _rule("$.context.contextActivities.category[*].id", any=[profile.VERSION]),
)
_OF_A_LAUNCH: Sequence[Json] = (
    *_EVERY,
    _rule("$.object.definition.type", all=list(profile.ACTIVITY_TYPES.values())),
    _rule("$.context.platform", note="The connection of the business system that the event came from."),
    _rule(_extension(profile.RULE)),
    _rule(_extension(profile.PROMPT)),
    _rule(_extension(profile.EVENT_TYPE)),
    _rule(_extension(profile.RECORD), "recommended", "Where the event names the record that it is about."),
)
_SCORE = _rule("$.result.score.scaled", "recommended", "Where a tool or content has told one.")
_DURATION = _rule("$.result.duration", "recommended", "Only where the bridge itself showed the asset.")
#: For each verb what a statement with it says, and its rules beside those of every statement about a launch.
_VERBS: Mapping[str, tuple[str, Sequence[Json]]] = {
    "launched": ("A person opened an asset that a prompt had offered.", [_rule("$.result", "excluded")]),
    "progressed": (
        "A person did a part of it.",
        [
            _rule("$.result.completion", all=[False]),
            _SCORE,
            _rule(_extension(profile.STEPS_DONE), "recommended", "For a checklist that the bridge showed."),
        ],
    ),
    "completed": (
        "A person completed it, and nobody judged how well.",
        [_rule("$.result.completion", all=[True]), _SCORE, _DURATION],
    ),
    "passed": (
        "A person did it well enough.",
        [_rule("$.result.success", all=[True]), _rule("$.result.completion"), _SCORE],
    ),
    "failed": (
        "A person did it, and not well enough.",
        [_rule("$.result.success", all=[False]), _rule("$.result.completion"), _SCORE],
    ),
}


def as_jsonld() -> Json:
    """The profile document in JSON-LD."""
    types = [_concept(iri, "ActivityType", *told) for iri, told in _ACTIVITY_TYPES.items()]
    return {
        "@context": list(CONTEXT),
        "id": profile.PROFILE,
        "type": "Profile",
        "conformsTo": CONFORMS_TO,
        "prefLabel": {"en": "flowbridge"},
        "definition": {"en": "Learning and performance support that is offered and opened at the moment of work."},
        "versions": [{"id": profile.VERSION, "generatedAtTime": GENERATED_AT}],
        "author": {"type": "Organization", "name": "flowbridge"},
        "concepts": [*types, *map(_extension_concept, _EXTENSIONS)],
        "templates": [*map(_template, _VERBS), _voiding()],
        "patterns": _patterns(),
    }


def _concept(iri: str, kind: str, name: str, meaning: str) -> Json:
    return {
        "id": iri,
        "type": kind,
        "inScheme": profile.VERSION,
        "prefLabel": {"en": name},
        "definition": {"en": meaning},
    }


def _extension_concept(iri: str) -> Json:
    kind, name, meaning, schema, verbs = _EXTENSIONS[iri]
    text = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **schema})
    recommended = {"recommendedVerbs": list(verbs)} if verbs else {}
    return {**_concept(iri, kind, name, meaning), **recommended, "inlineSchema": text}


def _template_id(name: str) -> str:
    return f"{profile.PROFILE}/templates/{name}"


def _template(name: str) -> Json:
    meaning, rules = _VERBS[name]
    return {
        **_concept(_template_id(name), "StatementTemplate", name, meaning),
        "verb": profile.VERBS[name],
        "contextGroupingActivityType": [profile.CATALOGUE, profile.RECORD_TYPE],
        "contextCategoryActivityType": [profile.PROFILE_TYPE],
        "rules": [*_OF_A_LAUNCH, *rules],
    }


def _voiding() -> Json:
    meaning = "An admin took back a statement of the bridge, in the name of the bridge."
    return {
        **_concept(_template_id("voided"), "StatementTemplate", "voided", meaning),
        "verb": profile.VOIDED,
        "contextCategoryActivityType": [profile.PROFILE_TYPE],
        "objectStatementRefTemplate": [_template_id(name) for name in _VERBS],
        "rules": [*_EVERY, _rule("$.object.objectType", all=["StatementRef"]), _rule(_extension(profile.REASON))],
    }


def _patterns() -> list[Json]:
    """One launch: it begins with "launched"; what came of it, and further sittings, follow in any order and number."""
    named = [f"{profile.PROFILE}/patterns/{name}" for name in ("launch", "afterwards", "report")]
    launch, afterwards, report = ({"id": iri, "type": "Pattern", "inScheme": profile.VERSION} for iri in named)
    label = {
        "primary": True,
        "prefLabel": {"en": "launch"},
        "definition": {"en": "One opening of an asset by one person, and what came of it. Its id is the registration."},
    }
    after = [_template_id(name) for name in (*_VERBS, "voided")]
    return [
        {**launch, **label, "sequence": [_template_id("launched"), afterwards["id"]]},
        {**afterwards, "zeroOrMore": report["id"]},
        {**report, "alternates": after},
    ]
