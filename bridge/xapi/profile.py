"""The words of the bridge's statements: verbs, activity types, extensions; its own ones as a publishable xAPI profile.

Words that ADL and others defined are taken as they are (every IRI exact: reports match on the string). Own ones exist
only where no registry has the concept; ``docs/xapi-profile.md`` says what each means, and they never change meaning:
a changed meaning is a new IRI.
"""

from __future__ import annotations

from typing import Any

from bridge.domain.assets import AssetKind
from bridge.domain.ids import IRI

PROFILE = IRI
#: Named as category of every statement, so that a report can tell what rules it was made by.
VERSION = f"{IRI}/v1"
PROFILE_TYPE = "http://adlnet.gov/expapi/activities/profile"

VERBS = {
    verb: f"http://adlnet.gov/expapi/verbs/{verb}"
    for verb in ("launched", "progressed", "completed", "passed", "failed")
}
VOIDED = "http://adlnet.gov/expapi/verbs/voided"

JOB_AID = f"{IRI}/activity-types/job-aid"
PROCEDURE = f"{IRI}/activity-types/procedure"
DECISION_TREE = f"{IRI}/activity-types/decision-tree"
RECORD_TYPE = f"{IRI}/activity-types/record-type"
CATALOGUE = f"{IRI}/activity-types/catalogue"

ACTIVITY_TYPES = {
    AssetKind.COURSE: "http://adlnet.gov/expapi/activities/course",
    AssetKind.MODULE: "http://adlnet.gov/expapi/activities/module",
    AssetKind.VIDEO: "https://w3id.org/xapi/acrossx/activities/video",
    AssetKind.GUIDE: JOB_AID,
    AssetKind.CHECKLIST: "http://id.tincanapi.com/activitytype/checklist",
    AssetKind.SOP: PROCEDURE,
    AssetKind.DECISION_TREE: DECISION_TREE,
    AssetKind.QUIZ: "http://adlnet.gov/expapi/activities/assessment",
    AssetKind.LINK: "http://adlnet.gov/expapi/activities/link",
}

RULE = f"{IRI}/extensions/rule"
PROMPT = f"{IRI}/extensions/prompt"
EVENT_TYPE = f"{IRI}/extensions/event-type"
RECORD = f"{IRI}/extensions/record"
STEPS_DONE = f"{IRI}/extensions/steps-done"

#: Own concepts: IRI, kind of concept, name, meaning. For an extension also the JSON schema of its value.
_CONCEPTS: tuple[tuple[str, str, str, str, str], ...] = (
    (JOB_AID, "ActivityType", "job aid", "Guidance that is read while doing the work, not studied before it.", ""),
    (PROCEDURE, "ActivityType", "procedure", "A standard operating procedure: the binding way to do a task.", ""),
    (DECISION_TREE, "ActivityType", "decision tree", "Questions whose answers lead to what has to be done.", ""),
    (RECORD_TYPE, "ActivityType", "record type", "A kind of record of a business system, never one record.", ""),
    (CATALOGUE, "ActivityType", "catalogue", "The catalogue that an asset of learning or support comes from.", ""),
    (
        RULE,
        "ContextExtension",
        "rule",
        "The rule that offered the asset: its name, and the version of its text that decided.",
        '{"type":"object","required":["name","version"],'
        '"properties":{"name":{"type":"string"},"version":{"type":"integer"}}}',
    ),
    (PROMPT, "ContextExtension", "prompt", "The id of the prompt that led here.", '{"type":"string","format":"uuid"}'),
    (EVENT_TYPE, "ContextExtension", "event type", "The type of the business event behind it.", '{"type":"string"}'),
    (
        RECORD,
        "ContextExtension",
        "record",
        "A keyed hash of the business record: equal for the same record, meaningless to who has no key.",
        '{"type":"string","pattern":"^[0-9a-f]{32}$"}',
    ),
    (
        STEPS_DONE,
        "ResultExtension",
        "steps done",
        "The ids of the steps of the checklist that were ticked at that time.",
        '{"type":"array","items":{"type":"string"}}',
    ),
)


def as_jsonld() -> dict[str, Any]:
    """The profile document in JSON-LD (xAPI Profiles 1.0, https://w3id.org/xapi/profiles)."""
    return {
        "@context": "https://w3id.org/xapi/profiles/context",
        "id": PROFILE,
        "type": "Profile",
        "conformsTo": "https://w3id.org/xapi/profiles#1.0",
        "prefLabel": {"en": "flowbridge"},
        "definition": {"en": "Learning and performance support that is offered and opened at the moment of work."},
        "author": {"type": "Organization", "name": "flowbridge"},
        "versions": [{"id": VERSION, "generatedAtTime": "2025-11-01T00:00:00Z"}],
        "concepts": [_concept(*concept) for concept in _CONCEPTS],
        "templates": [_template(name, verb) for name, verb in VERBS.items()],
        "patterns": [],
    }


def _concept(iri: str, kind: str, name: str, meaning: str, schema: str) -> dict[str, Any]:
    concept = {
        "id": iri,
        "type": kind,
        "inScheme": VERSION,
        "prefLabel": {"en": name},
        "definition": {"en": meaning},
    }
    return {**concept, "inlineSchema": schema} if schema else concept


def _template(name: str, verb: str) -> dict[str, Any]:
    included = ["$.timestamp", "$.actor.account", "$.context.registration", f"$.context.extensions['{PROMPT}']"]
    if name == "completed":
        included.append("$.result.completion")
    return {
        "id": f"{IRI}/templates/{name}",
        "type": "StatementTemplate",
        "inScheme": VERSION,
        "prefLabel": {"en": name},
        "definition": {"en": f"A person {name} an asset that a prompt had offered."},
        "verb": verb,
        "rules": [{"location": location, "presence": "included"} for location in included],
    }
