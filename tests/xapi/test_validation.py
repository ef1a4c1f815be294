"""The statement validator: against recorded verdicts of a conformant LRS, rule by rule, and under arbitrary change."""

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.xapi.validation import InvalidStatement, Version, loads, validate, validate_batch

RECORDED = Path(__file__).parents[3] / "shared" / "recorded" / "xapi"
ELSEWHERE = {
    Version.V1_0_3: {836: "a PUT whose query lacks statementId: the statement itself is valid"},
    Version.V2_0_0: {5: "a PUT whose query lacks statementId: the statement itself is valid"},
}

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


# The recorded verdicts


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded verdicts are not beside this checkout")
@BOTH
def test_agrees_with_the_recorded_verdicts(version: Version) -> None:
    lines = (RECORDED / f"verdicts-{version}.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == {V1: 850, V2: 876}[version]
    differing = set()
    for number, line in enumerate(lines, start=1):
        recorded = json.loads(line)
        try:
            accepted = bool(validate_batch(recorded["statement_or_batch"], version))
        except InvalidStatement:
            accepted = False
        if accepted != recorded["accept"]:
            differing.add(number)
    assert differing == ELSEWHERE[version].keys()


# What is accepted


@BOTH
@pytest.mark.parametrize("statement", [BASE, SUB], ids=["every property", "sub-statement"])
def test_accepts_and_leaves_untouched(statement: dict[str, Any], version: Version) -> None:
    before = copy.deepcopy(statement)
    validate(statement, version)
    assert statement == before


@BOTH
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ID.upper()),
        ("id", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("actor", GROUP),
        ("actor", {"objectType": "Group", "mbox": "mailto:team@example.com", "member": []}),
        ("actor", {"mbox": "mailto:o'brien+x%20y@sub.example.co.uk"}),
        ("actor", {"mbox": "mailto:jörg@bücher.example"}),
        ("verb/display", {}),
        ("verb/display", {"en": ""}),
        ("object", {"objectType": "Group", "account": {"homePage": "https://idp.example.com", "name": "shift"}}),
        ("result/score", {"raw": -3.5}),
        ("result/score", {"scaled": -1}),
        ("result/score", {"raw": 10**400, "min": 10**399}),
        ("context/contextActivities/other", []),
        ("authority", {"objectType": "Group", "member": [AGENT, {"account": {"homePage": "urn:x:y", "name": "k"}}]}),
        ("attachments/0/fileUrl", "https://example.com/c.pdf"),
        ("attachments/0/contentType", 'text/plain; charset="utf-8"; format=flowed'),
        ("version", "1.0"),
        ("version", "1.0.9"),
    ],
)
def test_accepts(path: str, value: object, version: Version) -> None:
    base = BASE if path != "object" else changed("context", REMOVED)
    validate(changed(path, value, base), version)


@pytest.mark.parametrize(
    "iri",
    [
        "http://a",
        "https://user:pw@example.com:8443/a/b;c?d=e&f=%C3%A9#g",
        "https://例え.example/パス?クエリ",
        "http://[2001:db8::1]:80/x",
        "urn:uuid:8f87ccde-bb56-4c2e-ab83-44982ef22df0",
        "tag:example.com,2026:a",
        "mailto:ann@example.com",
    ],
)
def test_accepts_iri(iri: str) -> None:
    validate(changed("object/id", iri), V1)


@pytest.mark.parametrize(
    "iri",
    [
        *("", "course/7", "//example.com/x", "ab=c://x", "1a:b", ":x", "é:b"),
        *("http://a b", "http://a/%2", "http://a/%zz", "http://a/[x]", "http://a/?b[]=1", "http://a/<x>", 'http://a/"'),
        *("http://a/\\b", "http://a/{x}", "http://a|b", "http://a/^", "http://a/x\n", "http://a/\x00", "http://a#b#c"),
        *("http://a:port/", "http://[zz]/", "http://a/\ue000", "http://a/\ud800"),
    ],
)
def test_refuses_iri(iri: str) -> None:
    assert str(refusal(changed("object/id", iri))) == "object.id: must be an IRI with a scheme (xAPI-Data 2.4.4.1)"


@pytest.mark.parametrize(
    "tag",
    [
        *("en", "EN-us", "cmn", "zh-cmn-Hans-CN", "sr-Latn-RS", "es-419", "sl-rozaj-biske", "de-CH-1901", "und"),
        *("de-CH-x-phonebk", "en-US-u-islamcal", "zh-CN-a-myext-x-private", "x-whatever", "i-klingon", "en-GB-oed"),
    ],
)
def test_accepts_language_tag(tag: str) -> None:
    validate(changed("verb/display", {tag: "x"}), V1)
    validate(changed("context/language", tag), V1)


@pytest.mark.parametrize(
    "tag",
    [
        *("", "e", "english-", "something", "a12345678", "en_US", "en--US", "en-something-AU", "s-something", "-en"),
        *("en-US-", "de-419-DE", "a-DE", "en-x", "ar-a", "x", "en ", "en-US\n", "én", "i-unknown"),
    ],
)
def test_refuses_language_tag(tag: str) -> None:
    assert refusal(changed("context/language", tag)).path == "context.language"
    assert refusal(changed("verb/display", {"en": "x", tag: "y"})).path.startswith("verb.display")


@pytest.mark.parametrize(
    "duration",
    ["P3Y", "P4W", "P0.5Y", "PT0S", "P1DT12H36M0.12567S", "P3Y1M29DT4H35M59,14S", "PT16559.14S", "P1M", "PT1M"],
)
def test_accepts_duration(duration: str) -> None:
    validate(changed("result/duration", duration), V1)


@pytest.mark.parametrize(
    "duration",
    [
        *("", "P", "PT", "P1", "1D", "P1DT", "P4W1D", "P1D4W", "-PT1S", "PT-1S", "P1S", "PT1D", "P1D1Y", "pt1s"),
        *("PT1.5H3M", "P1.D", "PT.5S", "P0003-06-04T12:30:05", "PT1S\n", "PT\u0661S", 60, None),
    ],
)
def test_refuses_duration(duration: object) -> None:
    assert refusal(changed("result/duration", duration)).path == "result.duration"


@BOTH
@pytest.mark.parametrize("name", ["timestamp", "stored"])
@pytest.mark.parametrize(
    "stamp", ["2026-03-02T09:41:27Z", "2024-02-29T23:59:59.123456789+05:30", "2026-03-02T09:41:27-01:00"]
)
def test_accepts_timestamp(stamp: str, name: str, version: Version) -> None:
    validate(changed(name, stamp), version)


@pytest.mark.parametrize(
    "stamp",
    [
        *("2026-03-02T09:41:27", "2026-03-02T09:41Z", "2026-03-02T09Z", "20260302T094127Z", "2026-03-02T09:41:27+0000"),
        *("2026-03-02T09:41:27+00", "2026-03-02T09:41:27,5Z", "2026-W10-1T09:41:27Z"),
    ],
)
def test_2_0_wants_rfc_3339_where_1_0_3_takes_iso_8601(stamp: str) -> None:
    validate(changed("timestamp", stamp), V1)
    assert refusal(changed("timestamp", stamp), V2).path == "timestamp"


@BOTH
@pytest.mark.parametrize(
    "stamp",
    [
        *(
            "",
            "yesterday",
            "2026-03-02",
            "09:41:27Z",
            "2026-03-02 09:41:27Z",
            "2026-03-02t09:41:27z",
            "02.03.2026T09:41",
        ),
        *("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-03-02T25:00:00Z", "2026-03-02T09:60:00Z"),
        *("2026-03-02T09:41:27-00:00", "2026-03-02T09:41:27-0000", "2026-03-02T09:41:27-00"),
        *("2026-03-02T09:41:27.Z", "2026-03-02T09:41:27+25:00", "2026-03-02T09:41:27Z\n", "\u0662026-03-02T09:41:27Z"),
        *(1772444487, None),
    ],
)
def test_refuses_timestamp(stamp: object, version: Version) -> None:
    assert refusal(changed("timestamp", stamp), version).path == "timestamp"
    assert refusal(changed("object/timestamp", stamp, SUB), version).path == "object.timestamp"


# What is refused, and where the fault is said to be


@BOTH
@pytest.mark.parametrize("value", [None, "x", 1, True, []], ids=repr)
def test_a_statement_is_an_object(value: object, version: Version) -> None:
    assert refusal(value, version).path == ""


@BOTH
@pytest.mark.parametrize("name", ["actor", "verb", "object"])
def test_requires(name: str, version: Version) -> None:
    assert refusal(changed(name, REMOVED), version).path == name
    assert refusal(changed(f"object/{name}", REMOVED, SUB), version).path == f"object.{name}"


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


@BOTH
@pytest.mark.parametrize("wrong", [None, 1.5, [[]], {"": {}}], ids=["null", "number", "list", "object"])
@pytest.mark.parametrize("place", [place for place in places(BASE) if "score/" not in place])
def test_every_property_has_its_type_and_none_is_null(place: str, wrong: object, version: Version) -> None:
    fault = refusal(changed(place, wrong), version)
    named = fault.path.replace(".", "/").replace("[", "/").replace("]", "").replace('"', "")
    assert place.startswith(named) or named.startswith(place)


@BOTH
@pytest.mark.parametrize("stray", ["surprise", "Id", "ID", "objecttype"])
@pytest.mark.parametrize("place", ["", "actor", "actor/account", "verb", "object", "object/definition", "result"])
def test_refuses_unknown_properties(place: str, stray: str, version: Version) -> None:
    path = f"{place}/{stray}".lstrip("/")
    assert refusal(changed(path, "x"), version).path == path.replace("/", ".")


@BOTH
@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        # ids
        ("id", "", "id"),
        ("id", ID[:-1], "id"),
        ("id", ID + "0", "id"),
        ("id", ID.replace("-", ""), "id"),
        ("id", "{" + ID + "}", "id"),
        ("id", "urn:uuid:" + ID, "id"),
        ("id", "g" + ID[1:], "id"),
        ("id", ID + "\n", "id"),
        ("context/registration", "attempt 1", "context.registration"),
        ("context/statement/objectType", REMOVED, "context.statement.objectType"),
        # actors
        ("actor", {}, "actor"),
        ("actor", {"name": "Ann"}, "actor"),
        ("actor", {**AGENT, "openid": "https://id.example.com/ann"}, "actor"),
        ("actor", {**AGENT, "account": {"homePage": "urn:a:b", "name": "x"}}, "actor"),
        ("actor", {**AGENT, "member": []}, "actor.member"),
        ("actor", {**AGENT, "objectType": "agent"}, "actor.objectType"),
        ("actor", {**AGENT, "objectType": "Person"}, "actor.objectType"),
        ("actor", {**AGENT, "objectType": {}}, "actor.objectType"),
        ("actor", {"mbox_sha1sum": "cd9b"}, "actor.mbox_sha1sum"),
        ("actor", {"account": {"homePage": "https://idp.example.com"}}, "actor.account.name"),
        ("actor", {"account": {"homePage": "idp", "name": "x"}}, "actor.account.homePage"),
        ("actor", {"objectType": "Group"}, "actor.member"),
        ("actor", {"objectType": "Group", "member": []}, "actor.member"),
        ("actor", {"objectType": "Group", "member": [AGENT, GROUP]}, "actor.member[1].objectType"),
        ("actor", {"objectType": "Group", **AGENT, "openid": "urn:a:b"}, "actor"),
        ("context/team", AGENT, "context.team.objectType"),
        ("authority", {**GROUP, "member": [AGENT]}, "authority.member"),
        ("authority", {**GROUP, "member": [AGENT] * 3}, "authority.member"),
        ("authority", {"objectType": "Group", **AGENT, "member": [AGENT] * 2}, "authority"),
        # verb, object
        ("verb/display/en-US", None, 'verb.display["en-US"]'),
        ("verb/id", REMOVED, "verb.id"),
        ("verb/id", VOIDED, "object"),
        ("object", {"id": ID}, "object.id"),
        ("object", AGENT, "object.mbox"),
        ("object", {"objectType": "activity", **ACTIVITY}, "object.objectType"),
        ("object", {"objectType": "StatementRef"}, "object.id"),
        ("object", {"objectType": "StatementRef", "id": "https://example.com"}, "object.id"),
        ("object", REF, "context.revision"),
        ("object/definition/type", "meeting", "object.definition.type"),
        ("object/definition/extensions", {"note": 1}, "object.definition.extensions.note"),
        # interactions
        ("object/definition/interactionType", REMOVED, "object.definition.interactionType"),
        ("object/definition/interactionType", "Choice", "object.definition.interactionType"),
        ("object/definition/interactionType", "likert", "object.definition.choices"),
        ("object/definition/interactionType", "other", "object.definition.choices"),
        ("object/definition/scale", [{"id": "a"}], "object.definition.scale"),
        ("object/definition/choices", {"id": "a"}, "object.definition.choices"),
        ("object/definition/choices", [{"id": "a"}, {"id": "a"}], "object.definition.choices"),
        ("object/definition/choices/1/id", REMOVED, "object.definition.choices[1].id"),
        ("object/definition/choices/1/id", 2, "object.definition.choices[1].id"),
        ("object/definition/correctResponsesPattern", "a", "object.definition.correctResponsesPattern"),
        ("object/definition/correctResponsesPattern", ["a", 1], "object.definition.correctResponsesPattern[1]"),
        # result
        ("result/score/scaled", 1.0001, "result.score.scaled"),
        ("result/score/scaled", -2, "result.score.scaled"),
        ("result/score/scaled", math.nan, "result.score.scaled"),
        ("result/score/scaled", True, "result.score.scaled"),
        ("result/score/raw", 101, "result.score.raw"),
        ("result/score/raw", -1, "result.score.raw"),
        ("result/score/raw", "90", "result.score.raw"),
        ("result/score/raw", False, "result.score.raw"),
        ("result/score/max", 0, "result.score.min"),
        ("result/score/max", math.inf, "result.score.max"),
        ("result/score/percent", 90, "result.score.percent"),
        ("result/success", 1, "result.success"),
        ("result/completion", "true", "result.completion"),
        ("result/extensions", {"a b:c": 1}, 'result.extensions["a b:c"]'),
        # context
        ("context/contextActivities/consequence", [], "context.contextActivities.consequence"),
        ("context/contextActivities/parent", [{}], "context.contextActivities.parent[0].id"),
        ("context/contextActivities/parent/0/id", "7", "context.contextActivities.parent[0].id"),
        ("context/contextActivities/other", [AGENT], "context.contextActivities.other[0].mbox"),
        (
            "context/contextActivities/other",
            {**ACTIVITY, "objectType": "Agent"},
            "context.contextActivities.other.objectType",
        ),
        # attachments
        ("attachments/0/length", -1, "attachments[0].length"),
        ("attachments/0/length", 1.0, "attachments[0].length"),
        ("attachments/0/length", True, "attachments[0].length"),
        ("attachments/0/sha2", "0f" * 20, "attachments[0].sha2"),
        ("attachments/0/sha2", REMOVED, "attachments[0].sha2"),
        ("attachments/0/display", REMOVED, "attachments[0].display"),
        ("attachments/0/contentType", "pdf", "attachments[0].contentType"),
        ("attachments/0/usageType", "http://adlnet.gov/expapi/attachments/signature", "attachments[0].contentType"),
        ("version", "1.1.0", "version"),
        ("version", "0.9.9", "version"),
        ("version", "1.0.x", "version"),
        ("version", 1.0, "version"),
    ],
)
def test_refuses(path: str, value: object, fault: str, version: Version) -> None:
    found = refusal(changed(path, value), version)
    assert found.path == fault
    assert "xAPI-Data" in found.rule or "IEEE" in found.rule


@pytest.mark.parametrize(
    "mbox",
    [
        *(
            "",
            "ann@example.com",
            "mailto:",
            "mailto:ann",
            "mailto:@example.com",
            "mailto:ann@",
            "MAILTO:ann@example.com",
        ),
        *("mailto:ann@b@c.example", "mailto:ann@example.com,bo@example.com", "mailto:ann@example.com?subject=x"),
        *("mailto:an n@example.com", "mailto:<ann@example.com>", "mailto:ann@example..com", "mailto:ann@example.com\n"),
        *("http://ann@example.com", "mailto://ann@example.com/", 7),
    ],
)
def test_refuses_mbox(mbox: object) -> None:
    assert refusal(changed("actor", {"mbox": mbox})).path == "actor.mbox"


@BOTH
@pytest.mark.parametrize("name", ["id", "stored", "version", "authority"])
def test_a_sub_statement_has_no_life_of_its_own(name: str, version: Version) -> None:
    assert refusal(changed(f"object/{name}", BASE[name], SUB), version).path == f"object.{name}"


@BOTH
def test_a_sub_statement_obeys_the_rules_of_statements(version: Version) -> None:
    assert refusal(changed("object/object", SUB["object"], SUB), version).path == "object.object.objectType"
    assert refusal(changed("object/objectType", "substatement", SUB), version).path == "object.objectType"
    assert refusal(changed("object/context/platform", "x", SUB), version).path == "object.context.platform"
    assert refusal(changed("object/verb/id", VOIDED, SUB), version).path == "object.object"
    assert refusal(changed("object/result", {"success": 1}, SUB), version).path == "object.result.success"


@BOTH
def test_voids_by_reference_only(version: Version) -> None:
    validate({"actor": AGENT, "verb": {"id": VOIDED}, "object": REF}, version)
    assert refusal({"actor": AGENT, "verb": {"id": VOIDED}, "object": ACTIVITY}, version).path == "object"


PARTIES = [
    ("contextAgents", {"objectType": "contextAgent", "agent": AGENT, "relevantTypes": ["urn:a:player"]}, "agent"),
    ("contextGroups", {"objectType": "contextGroup", "group": GROUP, "relevantTypes": ["urn:a:team"]}, "group"),
]


@pytest.mark.parametrize(("name", "entry", "role"), PARTIES)
def test_context_agents_and_groups_are_2_0_only(name: str, entry: dict[str, Any], role: str) -> None:
    plain = {**entry, "relevantTypes": ["urn:a:b", "https://example.com/c"]}
    validate(changed(f"context/{name}", [entry, plain]), V2)
    validate(changed(f"context/{name}", [{key: entry[key] for key in ("objectType", role)}]), V2)
    assert refusal(changed(f"context/{name}", [entry]), V1).path == f"context.{name}"


@pytest.mark.parametrize(("name", "entry", "role"), PARTIES)
def test_refuses_malformed_context_agents_and_groups(name: str, entry: dict[str, Any], role: str) -> None:
    def fault(**changes: object) -> str:
        return refusal(changed(f"context/{name}", [{**entry, **changes}]), V2).path.removeprefix(f"context.{name}[0].")

    other = "Agent" if role == "group" else "Group"
    assert fault(objectType="Agent") == "objectType"
    assert fault(relevantTypes=[]) == "relevantTypes"
    assert fault(relevantTypes=["urn:a:b", "player"]) == "relevantTypes[1]"
    assert fault(relevantTypes="urn:a:b") == "relevantTypes"
    assert fault(**{role: {"objectType": other, **AGENT}}) == f"{role}.objectType"
    assert fault(**{role: None}) == role
    assert fault(member=[AGENT]) == "member"
    assert refusal(changed(f"context/{name}", entry), V2).path == f"context.{name}"
    for missing in ("objectType", role):
        incomplete = {key: value for key, value in entry.items() if key != missing}
        assert refusal(changed(f"context/{name}", [incomplete]), V2).path == f"context.{name}[0].{missing}"


def test_only_2_0_takes_statements_of_version_2_0() -> None:
    validate(changed("version", "2.0.0"), V2)
    assert refusal(changed("version", "2.0.0"), V1).path == "version"


# What an error shows


def test_an_error_reads_as_path_and_rule() -> None:
    fault = refusal(changed("context/contextActivities/parent/0/id", "course 7"))
    assert str(fault) == "context.contextActivities.parent[0].id: must be an IRI with a scheme (xAPI-Data 2.4.4.1)"
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)


def test_an_error_shortens_and_escapes_foreign_keys() -> None:
    shown = str(refusal(changed("context/extensions", {"\x1b[31m\n" + "k" * 5000: 1})))
    assert len(shown) < 200
    assert shown.isprintable()


@BOTH
@pytest.mark.parametrize("place", [place for place in places(BASE) if place.count("/") < 3])
def test_an_error_never_shows_a_value(place: str, version: Version) -> None:
    secret = "Bearer s3cr3t"
    for value in (secret, {"objectType": secret}, [secret]):
        try:
            validate(changed(place, value), version)
        except InvalidStatement as fault:
            assert secret not in f"{fault} {fault!r}"


@pytest.mark.parametrize(
    ("path", "hostile"),
    [
        ("object/id", "http://" + "a:" * 50_000 + " "),
        ("object/id", "http:" + "%20" * 50_000 + "%"),
        ("context/language", "en" + "-abcde" * 50_000 + "-"),
        ("context/language", "en" + "-a-bb" * 50_000 + "-"),
        ("result/duration", "PT" + "1" * 100_000),
        ("actor", {"mbox": "mailto:" + "a." * 50_000 + "@" + "b." * 50_000}),
        ("attachments/0/contentType", "a/b" + "; a=b" * 50_000 + ";"),
        ("timestamp", "2026-03-02T09:41:27." + "1" * 100_000),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_long_malformed_strings_are_refused_without_backtracking(path: str, hostile: object) -> None:
    assert len(str(refusal(changed(path, hostile), V2))) < 200


# Batches


@BOTH
def test_a_batch_is_one_statement_or_a_list(version: Version) -> None:
    assert validate_batch(BASE, version) == [BASE]
    anonymous = changed("id", REMOVED)
    assert validate_batch([BASE, SUB, anonymous, anonymous], version) == [BASE, SUB, anonymous, anonymous]


@BOTH
@pytest.mark.parametrize("body", [[], None, "x", 7], ids=repr)
def test_a_batch_is_never_empty(body: object, version: Version) -> None:
    with pytest.raises(InvalidStatement, match="at least one"):
        validate_batch(body, version)


@BOTH
def test_a_batch_holds_no_id_twice(version: Version) -> None:
    with pytest.raises(InvalidStatement) as caught:
        validate_batch([BASE, SUB, changed("id", ID.upper())], version)
    assert caught.value.path == "[2].id"


@BOTH
def test_a_batch_says_which_statement_is_bad(version: Version) -> None:
    for bad, path in ((changed("verb/id", "x"), "[1].verb.id"), ([], "[1]")):
        with pytest.raises(InvalidStatement) as caught:
            validate_batch([SUB, bad], version)
        assert caught.value.path == path


# Bytes


def test_loads_json() -> None:
    assert loads(json.dumps(BASE).encode()) == BASE
    assert loads('[{"a": 1, "b": {"a": 1}}, {"a": "\\ud83d\\ude00 é \\\\ud800"}]'.encode()) == [
        {"a": 1, "b": {"a": 1}},
        {"a": "😀 é \\ud800"},
    ]


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b'{"a": 1, "a": 1}', "^a: stands twice"),
        (b'[{"x": {"deep": [{"k": 1, "\\u006b": null}]}}]', "^k: stands twice"),
        (b"[NaN]", "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[1e999]", "range"),
        (b"[-1e999]", "range"),
        (b"1" * 10_000, "digits"),
        (b'"\xff"', "UTF-8, byte 1"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'\xff\xfe"\x00a\x00"\x00', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "JSON"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\uDC00": 1}', "surrogate"),
        (b"", "JSON"),
        (b"{'a': 1}", "JSON"),
        (b"[1,]", "JSON"),
        (b"[1] [2]", "JSON"),
        (b'"a\nb"', "JSON"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
        (b"[" * 1_000_000, "deeper than 100"),
        (b"[" * 1_000_000 + b"]" * 1_000_000, "deeper than 100"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_loads_refuses(raw: bytes, rule: str) -> None:
    with pytest.raises(InvalidStatement, match=rule):
        loads(raw)


def test_loads_takes_what_is_just_deep_enough() -> None:
    raw = b"[" * 100 + b"]" * 100
    assert json.dumps(loads(raw)).encode() == raw


def test_loads_never_shows_the_body() -> None:
    for raw in (b'{"a": s3cr3t}', b'"s3cr3t', b'{"a": "s3cr3t", "a": "s3cr3t"}', b'["s3cr3t\xff"]'):
        with pytest.raises(InvalidStatement) as caught:
            loads(raw)
        assert "s3cr3t" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


# Anything at all

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["Agent", "Group", "Activity", "StatementRef", "SubStatement", VOIDED, ID, "en", "PT1S", "urn:a:b"]
    ),
)
NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(sorted({place.split("/")[-1] for place in [*places(BASE), *places(SUB)]})),
)
VALUES = st.one_of(
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    st.sampled_from([AGENT, GROUP, REF, ACTIVITY, ATTACHMENT, SUB["object"], BASE["context"], BASE["result"]]),
)


def containers(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value] if isinstance(value, dict | list) else []
    return own + [found for item in inner for found in containers(item)]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    statement = copy.deepcopy(draw(st.sampled_from([BASE, SUB])))
    for _ in range(draw(st.integers(1, 4))):
        target = draw(st.sampled_from(containers(statement)))
        value = copy.deepcopy(draw(VALUES))
        if isinstance(target, list):
            target.insert(draw(st.integers(0, len(target))), value)
        else:
            name = draw(st.one_of(st.sampled_from(sorted(target)), NAMES) if target else NAMES)
            target[name] = value
            if draw(st.booleans()):
                del target[name]
    return statement


@settings(max_examples=500, deadline=None)
@given(statement=mutated(), version=st.sampled_from(Version))
def test_any_mutation_is_accepted_or_refused_and_nothing_else(statement: Any, version: Version) -> None:
    before = copy.deepcopy(statement)
    try:
        validate_batch(statement, version)
    except InvalidStatement as fault:
        assert str(fault).isprintable()
        assert len(str(fault)) < 1000
    assert repr(statement) == repr(before)


@settings(max_examples=200, deadline=None)
@given(value=VALUES, version=st.sampled_from(Version))
def test_any_json_value_is_accepted_or_refused_and_nothing_else(value: Any, version: Version) -> None:
    with pytest.raises(InvalidStatement):
        validate(value, version)
    with pytest.raises(InvalidStatement):
        validate_batch([value], version)


@settings(max_examples=300, deadline=None)
@given(raw=st.one_of(st.binary(max_size=60), st.text('[]{}",:\\u0019dD.eE+-ntrufalsN \n', max_size=40).map(str.encode)))
def test_any_bytes_load_as_the_standard_reader_would_or_are_refused(raw: bytes) -> None:
    try:
        value = loads(raw)
    except InvalidStatement:
        return
    assert value == json.loads(raw.decode())
