"""Do statements follow a profile? The algorithms of xAPI Profiles 1.0, part three, 2.1 and 2.2, for small profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpath

Json = dict[str, Any]

_DETERMINING = {
    "verb": "$.verb.id",
    "objectActivityType": "$.object.definition.type",
    "contextGroupingActivityType": "$.context.contextActivities.grouping[*].definition.type",
    "contextParentActivityType": "$.context.contextActivities.parent[*].definition.type",
    "contextOtherActivityType": "$.context.contextActivities.other[*].definition.type",
    "contextCategoryActivityType": "$.context.contextActivities.category[*].definition.type",
    "attachmentUsageType": "$.attachments[*].usageType",
}


def matching(statement: Json, profile: Json) -> list[Json]:
    """The templates whose determining properties the statement has."""
    return [template for template in profile["templates"] if _determined(statement, template)]


def _determined(statement: Json, template: Json) -> bool:
    for name, location in _DETERMINING.items():
        wanted = template.get(name, [])
        if not set([wanted] if isinstance(wanted, str) else wanted) <= set(jsonpath.findall(location, statement)):
            return False
    return True


def broken(statement: Json, template: Json) -> list[str]:
    """What of the rules of a template the statement does not follow, in words."""
    rules = [fault for rule in template.get("rules", ()) for fault in _broken(statement, rule)]
    needs_reference = "objectStatementRefTemplate" in template
    if needs_reference and statement["object"].get("objectType") != "StatementRef":
        rules.append("the object is no reference to a statement")
    return rules


def _broken(statement: Json, rule: Json) -> list[str]:
    assert "selector" not in rule, "no profile here has one"
    where, values, presence = rule["location"], jsonpath.findall(rule["location"], statement), rule.get("presence")
    if presence == "excluded":
        return [f"{where} is there"] if values else []
    if presence == "included" and not values:
        return [f"{where} is missing"]
    if presence == "recommended" and not values:
        return []
    faults = []
    if "any" in rule and not [value for value in values if value in rule["any"]]:
        faults.append(f"{where} has none of {rule['any']}")
    if "all" in rule and [value for value in values if value not in rule["all"]]:
        faults.append(f"{where} has others than {rule['all']}")
    if "none" in rule and [value for value in values if value in rule["none"]]:
        faults.append(f"{where} has one of {rule['none']}")
    return faults


def follows(statements: Sequence[Json], profile: Json) -> bool:
    """Do the statements of one registration, in this order, follow a primary pattern to its end?"""
    names = {template["id"]: chr(0x100 + place) for place, template in enumerate(profile["templates"])}
    patterns = {pattern["id"]: pattern for pattern in profile["patterns"]}
    made = "".join(names[template["id"]] for statement in statements for template in matching(statement, profile))
    primary = [pattern["id"] for pattern in patterns.values() if pattern.get("primary")]
    return any(re.fullmatch(_expression(iri, names, patterns), made) for iri in primary)


def _expression(iri: str, names: Mapping[str, str], patterns: Mapping[str, Json]) -> str:
    """A pattern as a regular expression over templates, each being one character."""
    if iri in names:
        return names[iri]
    pattern = patterns[iri]
    for kind, times in (("zeroOrMore", "*"), ("oneOrMore", "+"), ("optional", "?")):
        if kind in pattern:
            return f"(?:{_expression(pattern[kind], names, patterns)}){times}"
    several = [_expression(part, names, patterns) for part in pattern.get("sequence", pattern.get("alternates"))]
    return f"(?:{('' if 'sequence' in pattern else '|').join(several)})"
