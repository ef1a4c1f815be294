"""The statement as tables: which properties each object has, of which form, and the rules between them.

Bare section numbers are those of xAPI-Data 1.0.3; "IEEE" marks what only 2.0 (IEEE 9274.1.1-2023) has.
"""

import math

from bridge.xapi.validation.formats import (
    is_duration,
    is_iri,
    is_iso_8601,
    is_language,
    is_mailto,
    is_media_type,
    is_rfc_3339,
    is_sha1,
    is_sha2,
    is_uuid,
    is_version_1_0,
    is_version_2_0,
)
from bridge.xapi.validation.shapes import (
    Field,
    InvalidStatement,
    Json,
    Test,
    anything,
    by_object_type,
    cite,
    list_of,
    literal,
    map_of,
    obj,
)

VOIDED = "http://adlnet.gov/expapi/verbs/voided"
SIGNATURE = "http://adlnet.gov/expapi/attachments/signature"

_IFIS = frozenset({"mbox", "mbox_sha1sum", "openid", "account"})
_COMPONENTS_OF = {
    "choice": frozenset({"choices"}),
    "sequencing": frozenset({"choices"}),
    "likert": frozenset({"scale"}),
    "matching": frozenset({"source", "target"}),
    "performance": frozenset({"steps"}),
    "true-false": frozenset[str](),
    "fill-in": frozenset[str](),
    "long-fill-in": frozenset[str](),
    "numeric": frozenset[str](),
    "other": frozenset[str](),
}
_COMPONENT_LISTS = frozenset[str]().union(*_COMPONENTS_OF.values())


def _text(section: str) -> Field:
    return Field(str, anything, f"must be a string ({cite(section)})")


def _flag(section: str) -> Field:
    return Field(bool, anything, f"must be true or false ({cite(section)})")


def _iri(section: str) -> Field:
    return Field(str, is_iri, f"must be an IRI with a scheme ({cite(section)})")


def _uuid(section: str) -> Field:
    return Field(str, is_uuid, f"must be a UUID in the standard form of 36 characters ({cite(section)}, 4.4)")


def _languages(section: str) -> Field:
    rule = f"must be a language map, an object of strings by language tag ({cite(section)}, 4.2)"
    test = map_of(
        is_language,
        "the key must be a language tag of RFC 5646 (xAPI-Data 4.2)",
        str,
        "must be a string (xAPI-Data 4.2)",
    )
    return Field(dict, test, rule)


def _extensions(section: str) -> Field:
    test = map_of(is_iri, "the key must be an IRI with a scheme (xAPI-Data 4.1)")
    return Field(dict, test, f"must be an object of values by IRI ({cite(section)}, 4.1)")


def _object(test: Test, what: str, section: str) -> Field:
    return Field(dict, test, f"must be {what} ({cite(section)})")


def _list(item: Field, what: str, section: str) -> Field:
    return Field(list, list_of(item), f"must be a list of {what} ({cite(section)})")


def _is_finite(value: float) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or math.isfinite(value))


def _is_scaled(value: float) -> bool:
    return not isinstance(value, bool) and -1 <= value <= 1


def _is_length(value: int) -> bool:
    return not isinstance(value, bool) and value >= 0


def _one_identifier(actor: Json) -> None:
    if len(_IFIS.intersection(actor)) != 1:
        raise InvalidStatement("", "needs exactly one of mbox, mbox_sha1sum, openid, account (xAPI-Data 2.4.2.3)")


def _identified_or_peopled(group: Json) -> None:
    if _IFIS.isdisjoint(group):
        if not group.get("member"):
            raise InvalidStatement("member", "is required, and not empty, in an anonymous Group (xAPI-Data 2.4.2.2)")
    else:
        _one_identifier(group)


def _two_agents(group: Json) -> None:
    if not _IFIS.isdisjoint(group):
        raise InvalidStatement("", "a Group as authority has no identifier of its own (xAPI-Data 2.4.9)")
    if len(group.get("member", ())) != 2:
        raise InvalidStatement("member", "must be two Agents, the application and the user (xAPI-Data 2.4.9)")


_ACCOUNT = obj(
    {"homePage": _iri("2.4.2.4"), "name": _text("2.4.2.4")},
    required=("homePage", "name"),
    section="2.4.2.4",
)
_ACTOR_FIELDS = {
    "name": _text("2.4.2"),
    "mbox": Field(str, is_mailto, "must be mailto: and one e-mail address (xAPI-Data 2.4.2.3)"),
    "mbox_sha1sum": Field(str, is_sha1, "must be a SHA-1 hash as 40 hex digits (xAPI-Data 2.4.2.3)"),
    "openid": _iri("2.4.2.3"),
    "account": _object(_ACCOUNT, "an object with homePage and name", "2.4.2.4"),
}
_AGENT = obj({"objectType": literal("Agent", "2.4.2.1"), **_ACTOR_FIELDS}, also=_one_identifier, section="2.4.2.1")
_GROUP_FIELDS = {
    "objectType": literal("Group", "2.4.2.2"),
    **_ACTOR_FIELDS,
    "member": _list(_object(_AGENT, "an Agent", "2.4.2.2"), "Agents", "2.4.2.2"),
}
_GROUP = obj(_GROUP_FIELDS, required=("objectType",), also=_identified_or_peopled, section="2.4.2.2")
_OAUTH_PAIR = obj(_GROUP_FIELDS, also=_two_agents, section="2.4.9")
_ACTOR = by_object_type({"Agent": _AGENT, "Group": _GROUP}, default="Agent", section="2.4.2")
_AUTHORITY = by_object_type({"Agent": _AGENT, "Group": _OAUTH_PAIR}, default="Agent", section="2.4.9")

_VERB = obj({"id": _iri("2.4.3"), "display": _languages("2.4.3")}, required=("id",), section="2.4.3")


def _interaction(definition: Json) -> None:
    lists = _COMPONENT_LISTS.intersection(definition)
    kind = definition.get("interactionType")
    if kind is None:
        if lists or "correctResponsesPattern" in definition:
            raise InvalidStatement("interactionType", "is required for an interaction (xAPI-Data 2.4.4.1)")
    elif not lists <= _COMPONENTS_OF[kind]:
        stray = min(lists - _COMPONENTS_OF[kind])
        raise InvalidStatement(stray, "does not belong to this interactionType (xAPI-Data 2.4.4.1)")


_COMPONENT = obj({"id": _text("2.4.4.1"), "description": _languages("2.4.4.1")}, required=("id",), section="2.4.4.1")
_each_component = list_of(_object(_COMPONENT, "an object with an id", "2.4.4.1"))


def _components(value: list[Json]) -> bool:
    _each_component(value)
    return len({component["id"] for component in value}) == len(value)


_COMPONENT_LIST = Field(list, _components, "must be a list of components with distinct ids (xAPI-Data 2.4.4.1)")
_DEFINITION = obj(
    {
        "name": _languages("2.4.4.1"),
        "description": _languages("2.4.4.1"),
        "type": _iri("2.4.4.1"),
        "moreInfo": _iri("2.4.4.1"),
        "extensions": _extensions("2.4.4.1"),
        "interactionType": Field(
            str, _COMPONENTS_OF.__contains__, f"must be one of {', '.join(_COMPONENTS_OF)} (xAPI-Data 2.4.4.1)"
        ),
        "correctResponsesPattern": _list(_text("2.4.4.1"), "strings", "2.4.4.1"),
        **dict.fromkeys(_COMPONENT_LISTS, _COMPONENT_LIST),
    },
    also=_interaction,
    section="2.4.4.1",
)
_ACTIVITY = obj(
    {
        "objectType": literal("Activity", "2.4.4.1"),
        "id": _iri("2.4.4.1"),
        "definition": _object(_DEFINITION, "an object", "2.4.4.1"),
    },
    required=("id",),
    section="2.4.4.1",
)
_STATEMENT_REF = obj(
    {"objectType": literal("StatementRef", "2.4.4.3"), "id": _uuid("2.4.4.3")},
    required=("objectType", "id"),
    section="2.4.4.3",
)
_OBJECTS = {"Activity": _ACTIVITY, "Agent": _AGENT, "Group": _GROUP, "StatementRef": _STATEMENT_REF}


def _score_range(score: Json) -> None:
    low, high = score.get("min", -math.inf), score.get("max", math.inf)
    if not low < high:
        raise InvalidStatement("min", "must be less than max (xAPI-Data 2.4.5.1)")
    if not low <= score.get("raw", low) <= high:
        raise InvalidStatement("raw", "must be between min and max (xAPI-Data 2.4.5.1)")


_NUMBER = Field((int, float), _is_finite, "must be a number (xAPI-Data 2.4.5.1)")
_SCORE = obj(
    {
        "scaled": Field((int, float), _is_scaled, "must be a number from -1 to 1 (xAPI-Data 2.4.5.1)"),
        **dict.fromkeys(("raw", "min", "max"), _NUMBER),
    },
    also=_score_range,
    section="2.4.5.1",
)
_RESULT = obj(
    {
        "score": _object(_SCORE, "an object", "2.4.5.1"),
        "success": _flag("2.4.5"),
        "completion": _flag("2.4.5"),
        "response": _text("2.4.5"),
        "duration": Field(str, is_duration, "must be an ISO 8601 duration such as PT1H30M (xAPI-Data 4.6)"),
        "extensions": _extensions("2.4.5"),
    },
    section="2.4.5",
)

_each_activity = list_of(_object(_ACTIVITY, "an Activity", "2.4.6.2"))


def _one_or_many_activities(value: Json | list[Json]) -> object:
    return _ACTIVITY(value) if isinstance(value, dict) else _each_activity(value)


_RELATED = Field(
    (dict, list), _one_or_many_activities, "must be an Activity or a list of Activities (xAPI-Data 2.4.6.2)"
)
_CONTEXT_ACTIVITIES = obj(dict.fromkeys(("parent", "grouping", "category", "other"), _RELATED), section="2.4.6.2")
_CONTEXT_FIELDS = {
    "registration": _uuid("2.4.6.1"),
    "instructor": _object(_ACTOR, "an Agent or a Group", "2.4.6"),
    "team": _object(_GROUP, "a Group", "2.4.6"),
    "contextActivities": _object(_CONTEXT_ACTIVITIES, "an object", "2.4.6.2"),
    "revision": _text("2.4.6"),
    "platform": _text("2.4.6"),
    "language": Field(str, is_language, "must be a language tag of RFC 5646 (xAPI-Data 2.4.6)"),
    "statement": _object(_STATEMENT_REF, "a StatementRef", "2.4.6"),
    "extensions": _extensions("2.4.6"),
}
_IEEE_CONTEXT = "IEEE 9274.1.1 4.2.2.5"
_iris = list_of(_iri(_IEEE_CONTEXT))


def _some_iris(value: list[object]) -> bool:
    return bool(value and _iris(value))


def _party(kind: str, role: str, member: Field) -> Field:
    """A list of entries that say which Agents or Groups took part, and as what (2.0 only)."""
    entry = obj(
        {
            "objectType": literal(kind, _IEEE_CONTEXT),
            role: member,
            "relevantTypes": Field(list, _some_iris, f"must be a list of at least one IRI ({_IEEE_CONTEXT})"),
        },
        required=("objectType", role),
        section=_IEEE_CONTEXT,
    )
    return _list(_object(entry, f"a {kind}", _IEEE_CONTEXT), f"{kind} objects", _IEEE_CONTEXT)


_CONTEXT_FIELDS_2_0 = {
    **_CONTEXT_FIELDS,
    "contextAgents": _party("contextAgent", "agent", _object(_AGENT, "an Agent", _IEEE_CONTEXT)),
    "contextGroups": _party("contextGroup", "group", _object(_GROUP, "a Group", _IEEE_CONTEXT)),
}


def _signature_type(attachment: Json) -> None:
    if attachment["usageType"] == SIGNATURE and attachment["contentType"] != "application/octet-stream":
        raise InvalidStatement("contentType", "must be application/octet-stream for a signature (xAPI-Data 2.6)")


_ATTACHMENT = obj(
    {
        "usageType": _iri("2.4.11"),
        "display": _languages("2.4.11"),
        "description": _languages("2.4.11"),
        "contentType": Field(str, is_media_type, "must be an Internet media type (xAPI-Data 2.4.11)"),
        "length": Field(int, _is_length, "must be a whole number of bytes (xAPI-Data 2.4.11)"),
        "sha2": Field(str, is_sha2, "must be a SHA-2 hash in hex (xAPI-Data 2.4.11)"),
        "fileUrl": _iri("2.4.11"),
    },
    required=("usageType", "display", "contentType", "length", "sha2"),
    also=_signature_type,
    section="2.4.11",
)


def _fits_its_object(statement: Json) -> None:
    kind = statement["object"].get("objectType", "Activity")
    if kind != "StatementRef" and statement["verb"]["id"] == VOIDED:
        raise InvalidStatement("object", "must be a StatementRef, because the verb is voided (xAPI-Data 2.3.2)")
    if kind != "Activity":
        for name in ("revision", "platform"):
            if name in statement.get("context", ()):
                raise InvalidStatement(
                    f"context.{name}", "is only allowed if the object is an Activity (xAPI-Data 2.4.6)"
                )


def _statement(context_fields: dict[str, Field], timestamp: Field, version: Field) -> Test:
    shared = {
        "actor": _object(_ACTOR, "an Agent or a Group", "2.4.2"),
        "verb": _object(_VERB, "an object", "2.4.3"),
        "result": _object(_RESULT, "an object", "2.4.5"),
        "context": _object(obj(context_fields, section="2.4.6"), "an object", "2.4.6"),
        "timestamp": timestamp,
        "attachments": _list(_object(_ATTACHMENT, "an object", "2.4.11"), "attachments", "2.4.11"),
    }
    objects = {**_OBJECTS, "SubStatement": _sub_statement(shared)}
    return obj(
        {
            **shared,
            "id": _uuid("2.4.1"),
            "object": _object(_by_type(objects), "an object", "2.4.4"),
            "stored": timestamp,
            "authority": _object(_AUTHORITY, "an Agent or a Group", "2.4.9"),
            "version": version,
        },
        required=("actor", "verb", "object"),
        also=_fits_its_object,
        section="2.4",
    )


def _sub_statement(shared: dict[str, Field]) -> Test:
    return obj(
        {
            **shared,
            "objectType": literal("SubStatement", "2.4.4.3"),
            "object": _object(_by_type(_OBJECTS), "an object", "2.4.4"),
        },
        required=("actor", "verb", "object"),
        also=_fits_its_object,
        section="2.4.4.3",
    )


def _by_type(objects: dict[str, Test]) -> Test:
    return by_object_type(objects, default="Activity", section="2.4.4")


STATEMENT_1_0_3 = _statement(
    _CONTEXT_FIELDS,
    Field(
        str,
        is_iso_8601,
        "must be an ISO 8601 date and time in the years 1 to 9999, not with the zone -00:00 (xAPI-Data 4.5)",
    ),
    Field(str, is_version_1_0, "must be 1.0 or start with 1.0. (xAPI-Data 2.4.10)"),
)
STATEMENT_2_0_0 = _statement(
    _CONTEXT_FIELDS_2_0,
    Field(str, is_rfc_3339, "must be an RFC 3339 date and time with a zone other than -00:00 (IEEE 9274.1.1 4.2.7)"),
    Field(str, is_version_2_0, "must be of the 2.0 or the 1.0 family (IEEE 9274.1.1 4.2.4.3)"),
)
